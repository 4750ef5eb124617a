//! PlacementBatcher orders: those that come at the same time, in one transaction.
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
use contracts::OrderId;
use futures::{FutureExt, future::join_all};
use http_api::Problem;
use messaging::{
    Effects, Outbox,
    idempotency::{self, Begin, Key, StoredResponse},
    throttle::{self, BatchThrottle},
};
use runtime::{clock, database};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    admission::AdmissionControl,
    domain::{Order, PlaceOrder, Prices, decide_place},
    event_log::{Cause, EventRecorder},
    http::accepted,
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
    command: PlaceOrder,
    because: Cause,
    answer: oneshot::Sender<Answer>,
}

/// Where orders wait.
struct Queue {
    requests: mpsc::Receiver<Request>,
    throttle: BatchThrottle,
}

impl Queue {
    /// Takes a batch as soon as there is one to take, and says of how many; of none once nobody can hand any in.
    async fn take(&mut self, batch: &mut Vec<Request>) -> usize {
        self.throttle.ready().await;
        let count = self.requests.recv_many(batch, BATCH).await;
        self.throttle.begin_with(count, BATCH);
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
pub struct PlacementHandle(mpsc::Sender<Request>);

impl PlacementHandle {
    /// Places an order, or gives the answer that its key had first.
    ///
    /// # Errors
    /// Why it is not placed.
    pub async fn place(&self, key: Option<Key>, command: PlaceOrder) -> Answer {
        let (answer, answered) = oneshot::channel();
        let request = Request { key, command, because: Cause::told(clock::now()), answer };
        let gone = || Problem::unavailable(Duration::from_secs(1)).detail("the service is stopping");
        self.0.send(request).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// Those who place what was handed in.
pub struct PlacementBatcher {
    pool: PgPool,
    outbox: Outbox,
    admission: Arc<AdmissionControl>,
    deadline: Duration,
    queue: Mutex<Queue>,
}

impl PlacementBatcher {
    /// Where to hand in, and who places it once they [`run`](Self::run).
    #[must_use]
    pub fn new(
        pool: PgPool,
        outbox: Outbox,
        admission: Arc<AdmissionControl>,
        deadline: Duration,
    ) -> (PlacementHandle, Self) {
        let (sender, requests) = mpsc::channel(WAITING as usize);
        let queue = Queue { requests, throttle: BatchThrottle::new(throttle::INTERVAL) };
        (PlacementHandle(sender), Self { pool, outbox, admission, deadline, queue: Mutex::new(queue) })
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
            Err(failed) => {
                let problem = Problem::from(failed);
                batch.into_iter().for_each(|request| request.answered(Err(problem.clone())));
            }
        }
    }

    /// The transaction; gives an answer to each.
    async fn place(&self, batch: &[Request]) -> sqlx::Result<Vec<Answer>> {
        let mut tx = database::begin(&self.pool).await?;
        let keys: Vec<&Key> = batch.iter().filter_map(|request| request.key.as_ref()).collect();
        let begun = idempotency::begin_all(&mut tx, &keys).await?;
        let skus: HashSet<String> = batch
            .iter()
            .flat_map(|request| &request.command.lines)
            .map(|line| line.sku.to_string())
            .collect();
        let prices = store::prices(&mut tx, &Vec::from_iter(skus)).await?;

        let now = clock::now();
        let mut placements = PlacementBatch {
            prices,
            now,
            deadline: now + self.deadline,
            placed: Vec::new(),
            record: EventRecorder::default(),
        };
        let answers: Vec<Answer> =
            batch.iter().map(|request| self.answer(request, &begun, &mut placements)).collect();
        if placements.placed.is_empty() {
            // Rolled back: no key is taken for what was refused.
            return Ok(answers);
        }
        store::insert(&mut tx, &placements.placed).await?;
        store::append(&mut tx, &placements.record.entries).await?;
        keep_keys(&mut tx, batch, &answers, &begun).await?;
        self.outbox.commit(tx, Effects::publish(placements.record.outgoing)).await?;
        Ok(answers)
    }

    /// Answers a request, and puts its order on the placements when it is placed.
    fn answer(
        &self,
        request: &Request,
        begun: &HashMap<String, Begin>,
        placements: &mut PlacementBatch,
    ) -> Answer {
        if let Some(key) = &request.key {
            match begun.get(&key.key) {
                Some(Begin::Replay(first)) => return Ok(first.clone()),
                Some(Begin::Mismatch) => return Err(Problem::idempotency_mismatch()),
                Some(Begin::Fresh) | None => {}
            }
        }
        // Only a new order is refused at the admission: what was answered before is answered again.
        self.admission.try_admit()?;
        let placed = decide_place(OrderId(clock::new_id()), request.command.clone(), &placements.prices)?;
        let order = Order::placed(placed.clone(), placements.now, placements.deadline);
        placements.record.begin(&order, placed.into(), &request.because);
        let answer = accepted(&order)?;
        placements.placed.push(order);
        Ok(answer)
    }
}

/// Why a transaction did not come to its end.
#[derive(Debug)]
enum Failed {
    Database(sqlx::Error),
    Panicked,
}

impl From<Failed> for Problem {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Database(error) => error.into(),
            Failed::Panicked => Self::internal("placing orders panicked"),
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
struct PlacementBatch {
    prices: Prices,
    now: DateTime<Utc>,
    deadline: DateTime<Utc>,
    placed: Vec<Order>,
    record: EventRecorder,
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
        assert_eq!(Problem::from(failed), Problem::internal("placing orders panicked"));
    }
}
