//! Who is let in: an order that would only time out is refused at the admission.
//!
//! A look at what waits says how many orders there is room for, and each that is let in takes one place until the next
//! look. So no more wait than the limits allow, but for those that were let in before a look and committed after it: as
//! many as are placed at once.

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
/// When a client that is refused may come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Open while there is room for more work.
#[derive(Debug)]
pub struct AdmissionControl {
    outbox: Capacity,
    pending: Capacity,
}

impl AdmissionControl {
    /// A admission with nothing behind it yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { outbox: Capacity::new(limits.max_outbox), pending: Capacity::new(limits.max_pending) }
    }

    /// Lets a new order in.
    ///
    /// # Errors
    /// 503 with `Retry-After` while too much waits already.
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

    async fn look(&self, pool: &PgPool) -> sqlx::Result<()> {
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

/// Places for what may wait.
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

    /// Frees the places that a look found free. Those that were taken since `before` it stay taken.
    fn correct(&self, before: i64, waiting: i64) {
        self.free.fetch_add(self.size - waiting - before, Ordering::Relaxed);
    }
}

/// Looks at what waits, twice a second until the shutdown.
///
/// # Errors
/// None: while the database is away the admission lets in as many as there was room for. The signature is that of a task.
pub async fn watch(
    admission: Arc<AdmissionControl>,
    pool: PgPool,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        if let Err(error) = admission.look(&pool).await {
            tracing::debug!(%error, "the admission does not know what waits");
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
    fn a_door_lets_in_as_many_as_there_is_room_for_and_says_when_to_come_again() {
        for (max_outbox, max_pending, detail) in
            [(2, 9, "too many events wait to be published"), (9, 2, "too many orders are pending")]
        {
            let admission = AdmissionControl::new(Limits { max_outbox, max_pending });
            assert_eq!((admission.try_admit(), admission.try_admit()), (Ok(()), Ok(())));
            assert_eq!(admission.try_admit(), Err(Problem::unavailable(RETRY_AFTER).detail(detail)));
        }
    }

    #[test]
    fn a_place_that_is_taken_during_a_look_stays_taken() {
        let room = Capacity::new(5);
        let before = room.free();
        assert!(room.try_acquire());
        room.correct(before, 3);
        assert_eq!(room.free(), 1, "of five places three were seen taken, and one was taken meanwhile");
        room.correct(room.free(), 5);
        assert!(!room.try_acquire());
    }
}
