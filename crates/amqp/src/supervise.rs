//! Work that is repeated over one connection after the other.

use std::time::Duration;

use runtime::{health::HealthItem, shutdown::before_end_of};
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
/// backoff with full jitter. Fails with a [permanent](BrokerError::is_permanent) error when no session has worked yet.
pub async fn supervise(
    item: &HealthItem,
    shutdown: &CancellationToken,
    work: &impl Session,
) -> Result<(), BrokerError> {
    let mut attempt = 0;
    let mut worked = false;
    while !shutdown.is_cancelled() {
        let session = work.session(item, shutdown);
        let error = match before_end_of(shutdown, SHUTDOWN_GRACE, session).await {
            Some(Err(error)) => error,
            Some(Ok(())) => continue,
            None => return Ok(()),
        };
        if item.is_up() {
            worked = true;
            attempt = 0;
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
