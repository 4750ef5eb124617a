//! Work that is repeated over one connection after the other.

use std::time::Duration;

use runtime::{health::HealthItem, shutdown::before_end_of};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::BrokerError;

const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// How long a session may go on after the shutdown. A broker that hangs does not even answer a close.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Work that lives as long as one connection.
pub trait Session: Sync {
    /// Connects and works until the connection breaks, or until the shutdown. Calls [`HealthItem::up`] once it works.
    fn session(
        &self,
        item: &HealthItem,
        shutdown: &CancellationToken,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;
}

/// Runs sessions one after the other until the shutdown. After a session that failed, the next one starts after a
/// backoff with full jitter, which grows until a session works for 5 s. Fails with a
/// [permanent](BrokerError::is_permanent) error when no session has worked yet.
pub async fn supervise(
    item: &HealthItem,
    shutdown: &CancellationToken,
    work: &impl Session,
) -> Result<(), BrokerError> {
    let mut attempt = 0;
    let mut worked = false;
    while !shutdown.is_cancelled() {
        let begun = Instant::now();
        let session = work.session(item, shutdown);
        let error = match before_end_of(shutdown, SHUTDOWN_GRACE, session).await {
            Some(Err(error)) => error,
            Some(Ok(())) => continue,
            None => return Ok(()),
        };
        if item.is_up() {
            worked = true;
            // One that ends as soon as it works, such as over a message that cannot be read, may do so for ever.
            if begun.elapsed() >= BACKOFF_CAP {
                attempt = 0;
            }
        }
        if error.is_permanent() && !worked {
            return Err(error);
        }
        item.down(error.to_string());
        let wait = runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP);
        attempt = attempt.saturating_add(1);
        shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use runtime::health::Health;

    use super::*;

    /// Works for a while, and fails.
    struct Failing {
        works_for: Duration,
        sessions: AtomicU32,
    }

    impl Session for Failing {
        async fn session(&self, item: &HealthItem, _: &CancellationToken) -> Result<(), BrokerError> {
            self.sessions.fetch_add(1, Ordering::Relaxed);
            item.up();
            let _ = tokio::time::timeout(self.works_for, std::future::pending::<()>()).await;
            Err(BrokerError::Unavailable("it always fails".to_owned()))
        }
    }

    /// How many sessions there are in ten minutes.
    async fn sessions(works_for: Duration) -> u32 {
        let work = Failing { works_for, sessions: AtomicU32::new(0) };
        let (item, shutdown) = (Health::new().item("consuming"), CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(600), supervise(&item, &shutdown, &work)).await;
        assert!(ended.is_err(), "it goes on");
        work.sessions.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_fail_at_once_become_rare() {
        let count = sessions(Duration::from_millis(1)).await;
        assert!((100..600).contains(&count), "{count} sessions in 600 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_worked_is_followed_at_once() {
        let count = sessions(Duration::from_secs(6)).await;
        assert!((97..=100).contains(&count), "{count} sessions in 600 s");
    }
}
