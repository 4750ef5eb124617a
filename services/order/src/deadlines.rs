//! The deadline watcher: cancels orders that are pending or confirmed at their deadline.
//!
//! Deadlines stand in the orders' rows, so that no restart forgets one. Replicas share the work: each takes orders
//! that no other has locked.
//!
//! The decision deadline measures the participants. So the watcher also [notes](crate::domain::MessageFlow) that messages
//! flow: this replica has its connections to the broker, and no event of any replica waits in the outbox. While no replica
//! sees that, a deadline that comes is postponed, and when they flow again, the participants have their time anew.

use std::time::Duration;

use messaging::{Effects, UnitOfWork, outbox};
use runtime::{database, health::Health, retry};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::DeadlineConfig,
    domain::{MAX_LAG, Order, decide_timeout},
    event_log::{Cause, EventRecorder},
    store,
};

const BATCH: i64 = 100;
/// The longest pause, for orders that are placed meanwhile. Several fit into the longest gap in the note.
const POLL: Duration = Duration::from_secs(1);
/// The shortest pause, for an expired order that another transaction has locked.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// The parts of the health that are there while this replica can publish and consume.
const CONNECTIONS: [&str; 2] = ["publishing", "consuming"];

pub struct DeadlineWatcher {
    pub pool: PgPool,
    pub unit_of_work: UnitOfWork,
    pub health: Health,
    pub deadlines: DeadlineConfig,
}

impl DeadlineWatcher {
    /// Watches until the shutdown.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let pause = match self.look().await {
                Ok(pause) => {
                    failures = 0;
                    pause
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

    /// Notes whether messages flow, judges every order whose deadline has come, and returns when to look again.
    async fn look(&self) -> sqlx::Result<Duration> {
        let flows = self.note_flow().await?;
        let begun = Instant::now();
        // For so long at most that there is no gap in the note.
        while self.judge(flows).await? == BATCH as usize && begun.elapsed() < POLL {}
        if !flows {
            return Ok(POLL);
        }
        let mut conn = self.pool.acquire().await?;
        let next = store::until_next_deadline(&mut conn).await?;
        Ok(next.map_or(POLL, |next| next.to_std().unwrap_or_default().clamp(MIN_PAUSE, POLL)))
    }

    /// Whether messages flow as far as this replica sees; if so, it is noted for all.
    async fn note_flow(&self) -> sqlx::Result<bool> {
        if !CONNECTIONS.iter().all(|part| self.health.item(part).is_up()) {
            return Ok(false);
        }
        let mut tx = database::begin(&self.pool).await?;
        if outbox::is_behind(&mut tx, MAX_LAG).await? {
            return Ok(false);
        }
        let (now, flow) = store::lock_message_flow(&mut tx).await?;
        store::save_message_flow(&mut tx, flow.seen(now)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Cancels a batch of the orders whose deadline has come, or postpones it, and returns how many.
    async fn judge(&self, flows: bool) -> sqlx::Result<usize> {
        let mut tx = database::begin(&self.pool).await?;
        let (now, flow) = store::message_flow(&mut tx).await?;
        if !flows && flow.since(now).is_some() {
            // Another replica sees messages flow and judges them, or an outage has just begun.
            return Ok(0);
        }
        let mut orders = store::claim_expired(&mut tx, BATCH).await?;
        if orders.is_empty() {
            return Ok(0);
        }
        let moment = self.deadlines.moment(now, flow);
        let mut recorder = EventRecorder::default();
        let cause = Cause::command(now);
        for order in &mut orders {
            let transition = decide_timeout(order, &moment);
            recorder.record(order, transition, &cause);
        }
        store::save(&mut tx, &orders).await?;
        store::append(&mut tx, &recorder.entries).await?;
        let cancelled = recorder.events.len();
        self.unit_of_work.commit(tx, Effects::publish(recorder.events)).await?;
        log(&orders, cancelled);
        Ok(orders.len())
    }
}

fn log(orders: &[Order], cancelled: usize) {
    if cancelled > 0 {
        tracing::info!(orders = cancelled, "orders timed out");
    }
    let postponed = orders.len() - cancelled;
    if postponed > 0 {
        tracing::info!(
            orders = postponed,
            "deadlines are postponed: messages do not flow, or did not for a while"
        );
    }
}
