//! The deadline watcher: cancels orders that are pending or confirmed at their deadline.
//!
//! Deadlines stand in the orders' rows, so that no restart forgets one. Replicas share the work: each takes orders
//! that no other has locked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use messaging::{Effects, UnitOfWork};
use runtime::{clock, retry};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::decide_timeout,
    event_log::{Cause, EventRecorder},
    store,
};

const BATCH: i64 = 100;
/// The longest pause, for orders that are placed meanwhile.
const POLL: Duration = Duration::from_secs(1);
/// The shortest pause, for an expired order that another transaction has locked.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

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
                    (next - clock::now()).to_std().unwrap_or_default().clamp(MIN_PAUSE, POLL)
                })
            }
            Err(error) => {
                // Once is enough: readiness and the other tasks report the database, too.
                if failures == 0 {
                    tracing::warn!(%error, "deadlines could not be checked and are checked again");
                }
                failures += 1;
                retry::backoff(failures, BACKOFF_BASE, BACKOFF_CAP)
            }
        };
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    Ok(())
}

/// Cancels every order whose deadline has passed, and returns the next deadline.
async fn expire_all(pool: &PgPool, unit_of_work: &UnitOfWork) -> sqlx::Result<Option<DateTime<Utc>>> {
    while expire(pool, unit_of_work, clock::now()).await? == usize::try_from(BATCH).unwrap_or(usize::MAX) {}
    let mut conn = pool.acquire().await?;
    store::next_deadline(&mut conn).await
}

/// Cancels a batch of the orders whose deadline is before `now`, and returns how many.
async fn expire(pool: &PgPool, unit_of_work: &UnitOfWork, now: DateTime<Utc>) -> sqlx::Result<usize> {
    let mut tx = runtime::database::begin(pool).await?;
    let mut orders = store::claim_expired(&mut tx, now, BATCH).await?;
    if orders.is_empty() {
        return Ok(0);
    }
    let mut recorder = EventRecorder::default();
    let cause = Cause::command(now);
    for order in &mut orders {
        let transition = decide_timeout(order, now);
        recorder.record(order, transition, &cause);
    }
    store::save(&mut tx, &orders).await?;
    store::append(&mut tx, &recorder.entries).await?;
    unit_of_work.commit(tx, Effects::publish(recorder.events)).await?;
    tracing::info!(orders = orders.len(), "orders timed out");
    Ok(orders.len())
}
