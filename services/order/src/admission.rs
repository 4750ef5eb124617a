//! Admission control: an order that could only time out is refused with 503 before it is placed.
//!
//! Twice a second the backlog is counted and the free capacity corrected; each admitted order takes one unit of it.
//! The backlog can exceed its limit only by the orders that were admitted before a count and committed after it, which
//! is at most one batch per placement worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use http_api::Problem;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{config::Limits, store};

const INTERVAL: Duration = Duration::from_millis(500);
/// When a refused client may repeat its request.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Admits new orders while two backlogs are below their limits: events to publish, and pending orders.
#[derive(Debug)]
pub struct AdmissionControl {
    outbox: Capacity,
    pending: Capacity,
}

impl AdmissionControl {
    pub fn new(limits: Limits) -> Self {
        Self { outbox: Capacity::new(limits.max_outbox), pending: Capacity::new(limits.max_pending) }
    }

    /// Takes capacity for one order.
    pub fn try_admit(&self) -> Result<(), Problem> {
        let full = |detail| Err(Problem::unavailable(RETRY_AFTER).detail(detail));
        if !self.outbox.try_acquire() {
            return full("too many events wait to be published");
        }
        if !self.pending.try_acquire() {
            return full("too many orders are pending");
        }
        Ok(())
    }

    async fn measure(&self, pool: &PgPool) -> sqlx::Result<()> {
        let mut conn = pool.acquire().await?;
        let before = self.outbox.free();
        let waiting = messaging::outbox::depth(&mut conn, self.outbox.size).await?;
        self.outbox.correct(before, waiting);
        let before = self.pending.free();
        let pending = store::count_pending(&mut conn, self.pending.size).await?;
        self.pending.correct(before, pending);
        Ok(())
    }
}

/// The free capacity of one backlog.
#[derive(Debug)]
struct Capacity {
    size: i64,
    free: AtomicI64,
}

impl Capacity {
    fn new(size: i64) -> Self {
        Self { size, free: size.into() }
    }

    fn free(&self) -> i64 {
        self.free.load(Ordering::Relaxed)
    }

    fn try_acquire(&self) -> bool {
        let one_less = |free: i64| (free > 0).then_some(free - 1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Sets the free capacity by a count of the backlog. What was acquired since `before`, when the count began, stays
    /// acquired.
    fn correct(&self, before: i64, waiting: i64) {
        self.free.fetch_add(self.size - waiting - before, Ordering::Relaxed);
    }
}

/// Counts the backlogs twice a second until the shutdown.
///
/// While the database is unavailable the capacity of the last count is used up, and then new orders are refused.
pub async fn watch(
    admission: Arc<AdmissionControl>,
    pool: PgPool,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        if let Err(error) = admission.measure(&pool).await {
            tracing::debug!(%error, "admission control cannot count the backlog");
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_admitted_up_to_the_limit_then_refused_with_retry_after() {
        for (max_outbox, max_pending, detail) in
            [(2, 9, "too many events wait to be published"), (9, 2, "too many orders are pending")]
        {
            let admission = AdmissionControl::new(Limits { max_outbox, max_pending });
            assert_eq!((admission.try_admit(), admission.try_admit()), (Ok(()), Ok(())));
            assert_eq!(admission.try_admit(), Err(Problem::unavailable(RETRY_AFTER).detail(detail)));
        }
    }

    #[test]
    fn capacity_acquired_during_a_count_stays_acquired() {
        let capacity = Capacity::new(5);
        let before = capacity.free();
        assert!(capacity.try_acquire());
        capacity.correct(before, 3);
        assert_eq!(capacity.free(), 1, "of 5 units, 3 were counted in use and 1 was acquired meanwhile");
        capacity.correct(capacity.free(), 5);
        assert!(!capacity.try_acquire());
    }
}
