//! Who is let in: an order that would only time out is refused at the door.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use problem::Problem;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{config::Limits, store};

const INTERVAL: Duration = Duration::from_millis(500);
/// When a client that is refused may come again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Open while the work that waits is within its limits.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    outbox_full: AtomicBool,
    too_many_pending: AtomicBool,
}

impl Door {
    /// An open door.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, outbox_full: AtomicBool::new(false), too_many_pending: AtomicBool::new(false) }
    }

    /// Lets a new order in.
    ///
    /// # Errors
    /// 503 with `Retry-After` while too much waits already.
    pub fn let_in(&self) -> Result<(), Problem> {
        let full = |detail| Err(Problem::unavailable(RETRY_AFTER).detail(detail));
        if self.outbox_full.load(Ordering::Relaxed) {
            return full("too many events wait to be published");
        }
        if self.too_many_pending.load(Ordering::Relaxed) {
            return full("too many orders are pending");
        }
        Ok(())
    }

    async fn look(&self, pool: &PgPool) -> sqlx::Result<()> {
        let Limits { max_outbox, max_pending } = self.limits;
        let mut conn = pool.acquire().await?;
        let waiting = messaging::outbox::depth(&mut conn, max_outbox + 1).await?;
        let pending = store::count_pending(&mut conn, max_pending + 1).await?;
        self.outbox_full.store(waiting > max_outbox, Ordering::Relaxed);
        self.too_many_pending.store(pending > max_pending, Ordering::Relaxed);
        Ok(())
    }
}

/// Looks at what waits, twice a second until the shutdown.
///
/// # Errors
/// None: while the database is away the door stays as it is. The signature is that of a task.
pub async fn watch(door: Arc<Door>, pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    while shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        if let Err(error) = door.look(&pool).await {
            tracing::debug!(%error, "the door stays as it is");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_with_too_much_behind_it_says_when_to_come_again() {
        let door = Door::new(Limits { max_outbox: 1, max_pending: 1 });
        assert_eq!(door.let_in(), Ok(()));
        door.too_many_pending.store(true, Ordering::Relaxed);
        let refused = door.let_in().expect_err("it is closed");
        assert_eq!(refused.slug(), "unavailable");
    }
}
