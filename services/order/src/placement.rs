//! Places orders in batches: the orders that arrive at the same time share one transaction.
//!
//! A transaction costs nearly the same for one order as for ten, so the orders that arrive while a transaction runs are
//! placed together by the next one. An order that arrives alone is placed at once.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use contracts::OrderId;
use futures::{FutureExt, future::join_all};
use http_api::{
    Problem,
    idempotency::{self, Begin, Key, StoredResponse, while_in_flight},
};
use messaging::{
    Effects, OutgoingEvent, UnitOfWork,
    throttle::{self, BatchThrottle},
};
use runtime::{
    clock,
    columns::column,
    database::{self, DbErrorKind, error_kind},
};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    admission::AdmissionControl,
    config::DeadlineConfig,
    domain::{Order, PlaceOrder, Prices, decide_place},
    event_log::{Cause, EventRecorder},
    http::order_accepted,
    store,
};

const BATCH: usize = 32;
/// Concurrent transactions: while one waits for the disk, the next batch is collected.
const WORKERS: usize = 2;
/// So many contended orders one after the other mean that the next one would wait for the same lock.
const CONTENDED_AT_MOST: u32 = 2;
/// The most orders that wait for a transaction. Admission control refuses more requests than that.
pub(crate) const QUEUE_CAPACITY: u32 = 256;

/// The outcome of a request that was not refused.
enum Placement {
    Placed(Box<Order>, StoredResponse),
    /// The same request was served before, with this response.
    Replayed(StoredResponse),
    /// Another request holds the key.
    InFlight,
}

type PlacementResult = Result<Placement, Problem>;

struct PlacementRequest {
    key: Key,
    command: PlaceOrder,
    cause: Cause<'static>,
    /// Whether it has taken its capacity, which it keeps when it is tried again.
    is_admitted: AtomicBool,
    /// Gets nothing while another request holds the key.
    reply: oneshot::Sender<Result<Option<StoredResponse>, Problem>>,
}

impl PlacementRequest {
    fn finish(self, result: PlacementResult) {
        let response = result.map(|placement| match placement {
            Placement::Placed(_, response) | Placement::Replayed(response) => Some(response),
            Placement::InFlight => None,
        });
        // The client may have disconnected: then nobody receives the response.
        let _ = self.reply.send(response);
    }
}

struct Queue {
    requests: mpsc::Receiver<PlacementRequest>,
    throttle: BatchThrottle,
}

impl Queue {
    /// Waits for the next batch. It is empty once every [`PlacementHandle`] is gone.
    async fn next_batch(&mut self) -> Vec<PlacementRequest> {
        let mut batch = Vec::with_capacity(BATCH);
        self.throttle.ready().await;
        let count = self.requests.recv_many(&mut batch, BATCH).await;
        self.throttle.begin_with(count, BATCH);
        batch
    }
}

#[derive(Debug, Clone)]
pub struct PlacementHandle(mpsc::Sender<PlacementRequest>);

impl PlacementHandle {
    /// Places an order and gives its response, or the one that its key got before.
    pub async fn place(&self, key: Key, command: PlaceOrder) -> Result<StoredResponse, Problem> {
        while_in_flight(|| self.hand_over(key.clone(), command.clone())).await
    }

    async fn hand_over(&self, key: Key, command: PlaceOrder) -> Result<Option<StoredResponse>, Problem> {
        let (reply, result) = oneshot::channel();
        let request = PlacementRequest {
            key,
            command,
            cause: Cause::command(clock::now()),
            is_admitted: AtomicBool::new(false),
            reply,
        };
        let stopping = || Problem::unavailable(Duration::from_secs(1)).detail("the service is stopping");
        self.0.send(request).await.map_err(|_| stopping())?;
        result.await.map_err(|_| stopping())?
    }
}

/// Places the orders that its [`PlacementHandle`]s hand over.
pub struct PlacementBatcher {
    pool: PgPool,
    unit_of_work: UnitOfWork,
    admission: Arc<AdmissionControl>,
    deadlines: DeadlineConfig,
    queue: Mutex<Queue>,
}

impl PlacementBatcher {
    pub fn new(
        pool: PgPool,
        unit_of_work: UnitOfWork,
        admission: Arc<AdmissionControl>,
        deadlines: DeadlineConfig,
    ) -> (PlacementHandle, Self) {
        let (sender, requests) = mpsc::channel(QUEUE_CAPACITY as usize);
        let queue = Queue { requests, throttle: BatchThrottle::new(throttle::INTERVAL) };
        (PlacementHandle(sender), Self { pool, unit_of_work, admission, deadlines, queue: Mutex::new(queue) })
    }

    /// Places orders until every handle is gone. Failures go to the requests, so it never fails itself.
    pub async fn run(self) -> anyhow::Result<()> {
        join_all((0..WORKERS).map(|_| self.work())).await;
        Ok(())
    }

    async fn work(&self) {
        loop {
            let mut batch = self.queue.lock().await.next_batch().await;
            if batch.is_empty() {
                return;
            }
            // No order is placed for a client that has disconnected.
            batch.retain(|request| !request.reply.is_closed());
            while !batch.is_empty() {
                let repeated = take_repeated_keys(&mut batch);
                self.place_and_reply(batch).await;
                batch = repeated;
            }
        }
    }

    async fn place_and_reply(&self, batch: Vec<PlacementRequest>) {
        match self.attempt(&batch).await {
            Ok(results) => {
                batch.into_iter().zip(results).for_each(|(request, result)| request.finish(result));
            }
            Err(failure) if failure.reach != Reach::Batch && batch.len() > 1 => {
                self.place_one_by_one(batch).await;
            }
            Err(failure) => answer_all(batch, &failure.problem),
        }
    }

    /// Each in a transaction of its own, until one fails for a reason that the rest shares.
    async fn place_one_by_one(&self, batch: Vec<PlacementRequest>) {
        let mut contended = 0;
        let mut requests = batch.into_iter().filter(|request| !request.reply.is_closed());
        while let Some(request) = requests.next() {
            let failure = match self.attempt(slice::from_ref(&request)).await {
                Ok(results) => {
                    if let Some(result) = results.into_iter().next() {
                        request.finish(result);
                    }
                    contended = 0;
                    continue;
                }
                Err(failure) => failure,
            };
            request.finish(Err(failure.problem.clone()));
            contended += u32::from(failure.reach == Reach::Contended);
            if failure.reach == Reach::Batch || contended == CONTENDED_AT_MOST {
                return answer_all(requests, &failure.problem);
            }
        }
    }

    /// Places the requests, or says how far its failure reaches.
    async fn attempt(&self, requests: &[PlacementRequest]) -> Result<Vec<PlacementResult>, FailedAttempt> {
        let committing = AtomicBool::new(false);
        let attempted = catch_panic(self.place(requests, &committing)).await;
        let committing = committing.into_inner();
        match attempted {
            Ok(Ok(results)) => Ok(results),
            Ok(Err(error)) => {
                Err(FailedAttempt { reach: Reach::of(&error, committing), problem: error.into() })
            }
            Err(problem) => {
                Err(FailedAttempt { reach: if committing { Reach::Batch } else { Reach::OneOrder }, problem })
            }
        }
    }

    /// One transaction, with one result for each request.
    async fn place(
        &self,
        requests: &[PlacementRequest],
        committing: &AtomicBool,
    ) -> sqlx::Result<Vec<PlacementResult>> {
        let mut tx = database::begin(&self.pool).await?;
        let (results, events) = match self.write(&mut tx, requests).await {
            Ok(written) => written,
            Err(error) => {
                // Waited for, so that the keys are free when the orders are tried again one by one.
                if error_kind(&error) != DbErrorKind::Unavailable
                    && let Err(error) = tx.rollback().await
                {
                    tracing::warn!(%error, "a transaction that placed nothing could not be rolled back");
                }
                return Err(error);
            }
        };
        if events.is_empty() {
            // The rollback gives back the keys of refused orders.
            return Ok(results);
        }
        committing.store(true, Ordering::Relaxed);
        self.unit_of_work.commit(tx, Effects::publish(events)).await?;
        Ok(results)
    }

    /// Everything but the outbox and the commit.
    async fn write(
        &self,
        conn: &mut PgConnection,
        requests: &[PlacementRequest],
    ) -> sqlx::Result<(Vec<PlacementResult>, Vec<OutgoingEvent>)> {
        let keys: Vec<&Key> = requests.iter().map(|request| &request.key).collect();
        let begun = idempotency::begin_all(conn, &keys).await?;
        let lines = requests.iter().flat_map(|request| &request.command.lines);
        let (prices, now) = store::prices(conn, &column(lines, |line| line.sku.as_str())).await?;

        // Deadlines are judged by the database's clock, so they begin by it. Without a price no order is placed.
        let now = now.unwrap_or_else(clock::now);
        let mut batch = PlacementBatch { prices, now, recorder: EventRecorder::default() };
        let results: Vec<PlacementResult> =
            requests.iter().map(|request| self.decide(request, &begun, &mut batch)).collect();
        let placed: Vec<&Order> = results.iter().filter_map(placed_order).collect();
        if !placed.is_empty() {
            store::insert(conn, &placed).await?;
            store::append(conn, &batch.recorder.entries).await?;
            complete_keys(conn, requests, &results).await?;
        }
        Ok((results, batch.recorder.events))
    }

    fn decide(
        &self,
        request: &PlacementRequest,
        begun: &HashMap<String, Begin>,
        batch: &mut PlacementBatch,
    ) -> PlacementResult {
        match begun.get(&request.key.key) {
            Some(Begin::Replay(first)) => return Ok(Placement::Replayed(first.clone())),
            Some(Begin::Mismatch) => return Err(Problem::idempotency_mismatch()),
            Some(Begin::InFlight) => return Ok(Placement::InFlight),
            Some(Begin::Fresh) | None => {}
        }
        // After the keys: a repeated request adds no work, so it is never refused here.
        if !request.is_admitted.load(Ordering::Relaxed) {
            self.admission.try_admit()?;
            request.is_admitted.store(true, Ordering::Relaxed);
        }
        let placed = decide_place(OrderId(clock::new_id()), request.command.clone(), &batch.prices)?;
        let order = Order::placed(placed.clone(), batch.now, self.deadlines.at(batch.now));
        let response = order_accepted(&order)?;
        batch.recorder.publish(order.id, order.version, placed.into(), &request.cause);
        Ok(Placement::Placed(Box::new(order), response))
    }
}

struct PlacementBatch {
    prices: Prices,
    now: DateTime<Utc>,
    recorder: EventRecorder,
}

fn placed_order(result: &PlacementResult) -> Option<&Order> {
    match result {
        Ok(Placement::Placed(order, _)) => Some(order),
        _ => None,
    }
}

/// Stores the responses of placed orders, and gives back the keys of refused ones.
async fn complete_keys(
    conn: &mut PgConnection,
    requests: &[PlacementRequest],
    results: &[PlacementResult],
) -> sqlx::Result<()> {
    let (mut responses, mut refused) = (Vec::new(), Vec::new());
    for (request, result) in requests.iter().zip(results) {
        match result {
            Ok(Placement::Placed(_, response)) => responses.push((request.key.key.as_str(), response)),
            Ok(Placement::Replayed(_) | Placement::InFlight) => {}
            Err(_) => refused.push(request.key.key.as_str()),
        }
    }
    idempotency::complete_all(conn, &responses).await?;
    idempotency::release(conn, &refused).await
}

/// A panic fails its own batch; the worker goes on with the next one.
async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|_| Problem::internal("placing orders panicked"))
}

/// Takes out the requests whose key occurs before in the batch: they are decided after the first one has committed.
fn take_repeated_keys(batch: &mut Vec<PlacementRequest>) -> Vec<PlacementRequest> {
    let mut seen = HashSet::new();
    let repeated = |request: &mut PlacementRequest| !seen.insert(request.key.key.clone());
    batch.extract_if(.., repeated).collect()
}

fn answer_all(requests: impl IntoIterator<Item = PlacementRequest>, problem: &Problem) {
    requests.into_iter().for_each(|request| request.finish(Err(problem.clone())));
}

/// Why a transaction placed nothing, or perhaps did.
struct FailedAttempt {
    problem: Problem,
    reach: Reach,
}

/// Whom a failure concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// One order made the transaction fail: the others can be placed without it.
    OneOrder,
    /// Another transaction was in the way, of one order or of the whole table.
    Contended,
    /// All of them: the database is unavailable, or the orders may be placed, and a repeat would place them twice.
    Batch,
}

impl Reach {
    fn of(error: &sqlx::Error, committing: bool) -> Self {
        // The database's own error says that the transaction is rolled back, even if it is the answer to the commit.
        let nothing_in_effect = !committing || error.as_database_error().is_some();
        match error_kind(error) {
            DbErrorKind::Rejected if nothing_in_effect => Self::OneOrder,
            DbErrorKind::Contention if nothing_in_effect => Self::Contended,
            _ => Self::Batch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_with_nothing_in_effect_is_of_one_order() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        for (error, committing, reach) in [
            (sqlx::Error::RowNotFound, false, Reach::OneOrder),
            (sqlx::Error::RowNotFound, true, Reach::Batch),
            (lost(), false, Reach::Batch),
            (lost(), true, Reach::Batch),
        ] {
            assert_eq!(Reach::of(&error, committing), reach, "{error}, {committing}");
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_a_500_without_its_cause() {
        let problem = catch_panic::<()>(async { panic!("hush") }).await.expect_err("a panic");
        assert_eq!(problem, Problem::internal("placing orders panicked"));
    }
}
