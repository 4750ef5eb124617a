//! Placing orders: those that come at the same time, in one transaction.
//!
//! A transaction costs nearly the same for one order as for ten, so what came while another was at work is placed
//! together. An order that comes alone is placed alone, at once.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use events::OrderId;
use futures::{FutureExt, future::join_all};
use messaging::{
    Effects, Outbox,
    idempotency::{self, Begin, Key, StoredResponse},
    pace::{self, Pace},
};
use problem::Problem;
use runtime::{clock, database};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    domain::{Order, Prices, Wish, decide_place},
    door::Door,
    http::accepted,
    log::{Because, Record},
    store,
};

/// Orders in one transaction, at the most.
const BATCH: usize = 32;
/// Transactions at once: while one waits for the disk, the next is put together.
const WORKERS: usize = 2;
/// Orders that wait to be placed, at the most; a request that comes then waits for its turn to be handled at all.
pub(crate) const WAITING: u32 = 256;

/// An order to place.
struct Request {
    key: Option<Key>,
    wish: Wish,
    because: Because,
    answer: oneshot::Sender<Answer>,
}

/// Where orders wait.
struct Queue {
    requests: mpsc::Receiver<Request>,
    pace: Pace,
}

impl Queue {
    /// Takes a batch as soon as there is one to take, and says of how many; of none once nobody can hand any in.
    async fn take(&mut self, batch: &mut Vec<Request>) -> usize {
        self.pace.turn().await;
        let count = self.requests.recv_many(batch, BATCH).await;
        self.pace.begin_with(count, BATCH);
        count
    }
}

type Answer = Result<StoredResponse, Problem>;

impl Request {
    /// Whoever gave up meanwhile is told nothing.
    fn answered(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// Where handlers hand orders in.
#[derive(Debug, Clone)]
pub struct Counter(mpsc::Sender<Request>);

impl Counter {
    /// Places an order, or gives the answer that its key had first.
    ///
    /// # Errors
    /// Why it is not placed.
    pub async fn place(&self, key: Option<Key>, wish: Wish) -> Answer {
        let (answer, answered) = oneshot::channel();
        let request = Request { key, wish, because: Because::told(clock::now()), answer };
        let gone = || Problem::unavailable(Duration::from_secs(1)).detail("the service is stopping");
        self.0.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Those who place what was handed in.
pub struct Placing {
    pool: PgPool,
    outbox: Outbox,
    door: Arc<Door>,
    deadline: Duration,
    queue: Mutex<Queue>,
}

impl Placing {
    /// Where to hand in, and who places it once they [`run`](Self::run).
    #[must_use]
    pub fn new(pool: PgPool, outbox: Outbox, door: Arc<Door>, deadline: Duration) -> (Counter, Self) {
        let (sender, requests) = mpsc::channel(WAITING as usize);
        let queue = Queue { requests, pace: Pace::new(pace::INTERVAL) };
        (Counter(sender), Self { pool, outbox, door, deadline, queue: Mutex::new(queue) })
    }

    /// Places orders until nobody can hand any in.
    ///
    /// # Errors
    /// None: what fails is answered. The signature is that of a task.
    pub async fn run(self) -> anyhow::Result<()> {
        join_all((0..WORKERS).map(|_| self.work())).await;
        Ok(())
    }

    async fn work(&self) {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            if self.queue.lock().await.take(&mut batch).await == 0 {
                return;
            }
            // Those who gave up meanwhile are told nothing, and nothing is done for them.
            batch.retain(|request| !request.answer.is_closed());
            while !batch.is_empty() {
                let again = repeated_keys(&mut batch);
                self.place_and_answer(batch).await;
                batch = again;
            }
        }
    }

    async fn place_and_answer(&self, batch: Vec<Request>) {
        match caught(self.place(&batch)).await {
            Ok(answers) => {
                batch.into_iter().zip(answers).for_each(|(request, answer)| request.answered(answer));
            }
            Err(Failed::Database(error)) if batch.len() > 1 && is_of_one(&error) => {
                for request in batch {
                    Box::pin(self.place_and_answer(vec![request])).await;
                }
            }
            // The commit may have taken effect: to place them again would place some of them twice.
            Err(failed) => batch.into_iter().for_each(|request| request.answered(Err(failed.problem()))),
        }
    }

    /// The transaction; gives an answer to each.
    async fn place(&self, batch: &[Request]) -> sqlx::Result<Vec<Answer>> {
        let mut tx = database::begin(&self.pool).await?;
        let keys: Vec<&Key> = batch.iter().filter_map(|request| request.key.as_ref()).collect();
        let begun = idempotency::begin_all(&mut tx, &keys).await?;
        let skus: HashSet<String> =
            batch.iter().flat_map(|request| &request.wish.lines).map(|line| line.sku.to_string()).collect();
        let prices = store::prices(&mut tx, &Vec::from_iter(skus)).await?;

        let now = clock::now();
        let mut desk = Desk {
            prices,
            now,
            deadline: now + self.deadline,
            placed: Vec::new(),
            record: Record::default(),
        };
        let answers: Vec<Answer> =
            batch.iter().map(|request| self.answer(request, &begun, &mut desk)).collect();
        if desk.placed.is_empty() {
            // Rolled back: no key is taken for what was refused.
            return Ok(answers);
        }
        store::insert(&mut tx, &desk.placed).await?;
        store::append(&mut tx, &desk.record.entries).await?;
        keep_keys(&mut tx, batch, &answers, &begun).await?;
        self.outbox.commit(tx, Effects::announce(desk.record.announcements)).await?;
        Ok(answers)
    }

    /// Answers a request, and puts its order on the desk when it is placed.
    fn answer(&self, request: &Request, begun: &HashMap<String, Begin>, desk: &mut Desk) -> Answer {
        if let Some(key) = &request.key {
            match begun.get(&key.key) {
                Some(Begin::Replay(first)) => return Ok(first.clone()),
                Some(Begin::Mismatch) => return Err(Problem::idempotency_mismatch()),
                Some(Begin::Fresh) | None => {}
            }
        }
        // Only a new order is refused at the door: what was answered before is answered again.
        self.door.let_in()?;
        let placed = decide_place(OrderId(clock::new_id()), request.wish.clone(), &desk.prices)?;
        let order = Order::placed(placed.clone(), desk.now, desk.deadline);
        desk.record.begin(&order, placed.into(), &request.because);
        let answer = accepted(&order)?;
        desk.placed.push(order);
        Ok(answer)
    }
}

/// Why a transaction did not come to its end.
#[derive(Debug)]
enum Failed {
    Database(sqlx::Error),
    Panicked,
}

impl Failed {
    fn problem(&self) -> Problem {
        match self {
            Self::Database(error) => database::problem(error),
            Self::Panicked => Problem::internal("placing orders panicked"),
        }
    }
}

/// A panic is for those who are at work together, and whoever comes next is served.
async fn caught<T>(work: impl Future<Output = sqlx::Result<T>>) -> Result<T, Failed> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done.map_err(Failed::Database),
        Err(_) => Err(Failed::Panicked),
    }
}

/// What one transaction is put together from.
struct Desk {
    prices: Prices,
    now: DateTime<Utc>,
    deadline: DateTime<Utc>,
    placed: Vec<Order>,
    record: Record,
}

/// Keeps the answers of fresh keys, and lets those go whose orders are refused.
async fn keep_keys(
    conn: &mut sqlx::PgConnection,
    batch: &[Request],
    answers: &[Answer],
    begun: &HashMap<String, Begin>,
) -> sqlx::Result<()> {
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for (request, answer) in batch.iter().zip(answers) {
        let Some(key) = request.key.as_ref().map(|key| key.key.as_str()) else { continue };
        match (begun.get(key), answer) {
            (Some(Begin::Fresh), Ok(response)) => kept.push((key, response)),
            (Some(Begin::Fresh), Err(_)) => refused.push(key),
            _ => {}
        }
    }
    idempotency::complete_all(conn, &kept).await?;
    idempotency::forget(conn, &refused).await
}

/// Takes requests out whose key another of the batch has: they are answered as that one was.
fn repeated_keys(batch: &mut Vec<Request>) -> Vec<Request> {
    let mut seen = HashSet::new();
    let repeated =
        |request: &mut Request| request.key.as_ref().is_some_and(|key| !seen.insert(key.key.clone()));
    batch.extract_if(.., repeated).collect()
}

/// Whether the database refused what one order says (classes 22, data exception, and 23, integrity constraint
/// violation): nothing took effect, and the others have nothing to do with it.
fn is_of_one(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_shows_nothing_of_the_inside() {
        let failed = caught::<()>(async { panic!("hush") }).await.expect_err("a panic");
        assert_eq!(failed.problem(), Problem::internal("placing orders panicked"));
    }
}
