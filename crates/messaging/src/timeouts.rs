//! Time limits of transactions, and of work after a shutdown.

use std::{future::Future, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than the database lets a stuck session live: after it, the network to the database does not answer.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What the transaction comes to, or an error when it does not end in time.
pub(crate) async fn in_time<E: From<TimedOut>>(
    transaction: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    timeout(TRANSACTION_TIMEOUT, transaction).await.unwrap_or(Err(TimedOut.into()))
}

/// A transaction did not end in time. It may be in effect, or not.
#[derive(Debug, thiserror::Error)]
#[error("a transaction did not end within {} s", TRANSACTION_TIMEOUT.as_secs())]
pub(crate) struct TimedOut;

/// What the work comes to; nothing when it has not ended by `grace` after the shutdown. A database that does not answer,
/// or a broker that blocks publishers, may delay it for longer than a shutdown may take.
pub(crate) async fn before_end_of<T>(
    shutdown: &CancellationToken,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let end = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = end => None,
    }
}
