//! The deadline watcher: cancels the orders that still wait when their time is over.
//!
//! Deadlines stand in the orders' rows, so that no restart forgets one. Replicas share the work: each takes
//! orders that no other has locked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::{Effects, UnitOfWork};
use runtime::{clock, retry};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Order, decide_timeout},
    event_log::{Cause, EventRecorder},
    store,
};

/// Orders cancelled in one transaction.
const BATCH: i64 = 100;
/// The longest sleep: the net for orders that were placed meanwhile.
const POLL: Duration = Duration::from_secs(1);
/// The shortest: an expired order that another transaction has locked is not asked for at once again.
const BREATH: Duration = Duration::from_millis(20);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// Watches the deadlines until the shutdown.
///
/// # Errors
/// None; it goes on after every failure. The signature is that of a task.
pub async fn watch_deadlines(
    pool: PgPool,
    unit_of_work: UnitOfWork,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut failures = 0;
    while !shutdown.is_cancelled() {
        let pause = match expire_all(&pool, &unit_of_work).await {
            Ok(next) => {
                failures = 0;
                next.map_or(POLL, |next| {
                    (next - clock::now()).to_std().unwrap_or_default().clamp(BREATH, POLL)
                })
            }
            Err(error) => {
                // Readiness and the other tasks tell that the database is away; once is enough.
                if failures == 0 {
                    tracing::warn!(%error, "deadlines are looked at again");
                }
                failures += 1;
                retry::backoff(failures, BACKOFF_BASE, BACKOFF_CAP)
            }
        };
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    Ok(())
}

/// Cancels every order whose deadline has passed, and says when the next one does.
async fn expire_all(pool: &PgPool, unit_of_work: &UnitOfWork) -> sqlx::Result<Option<DateTime<Utc>>> {
    while expire(pool, unit_of_work, clock::now()).await? == usize::try_from(BATCH).unwrap_or(usize::MAX) {}
    let mut conn = pool.acquire().await?;
    store::next_deadline(&mut conn).await
}

/// Cancels a batch of the orders whose deadline is before `now`, and says how many those were.
async fn expire(pool: &PgPool, unit_of_work: &UnitOfWork, now: DateTime<Utc>) -> sqlx::Result<usize> {
    let mut tx = runtime::database::begin(pool).await?;
    let mut orders = store::claim_expired(&mut tx, now, BATCH).await?;
    if orders.is_empty() {
        return Ok(0);
    }
    let mut record = EventRecorder::default();
    let because = Cause::told(now);
    for order in &mut orders {
        let facts = decide_timeout(order, now);
        record.add(order, facts, &because);
    }
    store::save(&mut tx, &orders.iter().collect::<Vec<&Order>>()).await?;
    store::append(&mut tx, &record.entries).await?;
    unit_of_work.commit(tx, Effects::publish(record.outgoing)).await?;
    tracing::info!(orders = orders.len(), "timed out");
    Ok(orders.len())
}
