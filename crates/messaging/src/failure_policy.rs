//! The failure policy of consumer, stream reader and jobs.
//!
//! | failure | example | what happens |
//! |---|---|---|
//! | transient | the database is unavailable | the batch is repeated until it is in effect; no attempt is counted |
//! | contention | a deadlock, a lock timeout | the batch is repeated up to 10 times; no attempt is counted |
//! | permanent | a violated constraint, an invalid transition, a panic | each item is tried alone; what fails alone has failed |
//! | not for this build | a row that a newer build wrote | the same |
//!
//! A permanent failure of a message is [stored](crate::failed_messages) with it, and a job that failed runs again later.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use runtime::database::{self, DbErrorKind};
use runtime::error::{panic_message, with_sources};
use runtime::health::Health;
use tokio::time::timeout;

const CONTENTION_REPEATS: u32 = 10;
const BACKOFF_BASE: Duration = Duration::from_millis(20);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// Longer than the database lets a stuck session live: after it, the network to the database does not answer.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a transaction failed, sorted by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database is unavailable: wait.
    #[error("{0}")]
    Transient(String),
    /// Transactions were in each other's way: the same one may well succeed when it is repeated.
    #[error("contention: {0}")]
    Contention(String),
    /// An item of the batch cannot be handled.
    #[error("{0}")]
    Permanent(String),
    /// A row of the database cannot be read by this build.
    #[error("not for this build: {0}")]
    NotForThisBuild(String),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = with_sources(&error);
        if let sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } = error {
            return Self::NotForThisBuild(text);
        }
        match database::error_kind(&error) {
            DbErrorKind::Unavailable => Self::Transient(text),
            DbErrorKind::Contention => Self::Contention(text),
            DbErrorKind::Rejected => Self::Permanent(text),
        }
    }
}

impl Failure {
    /// The transaction did not end in time. It may be in effect, or not.
    fn timed_out() -> Self {
        Self::Transient(format!("a transaction did not end within {} s", TRANSACTION_TIMEOUT.as_secs()))
    }

    /// A failure before any item was looked at. Whatever the database says, no item caused it.
    pub(crate) fn of_no_item(error: sqlx::Error) -> Self {
        match error.into() {
            Self::Permanent(reason) | Self::NotForThisBuild(reason) => Self::Transient(reason),
            other => other,
        }
    }
}

/// Runs the code of a service. Its panic is a permanent failure: a bug that this item triggers.
pub(crate) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|panic| Failure::Permanent(format!("panic: {}", panic_message(&*panic).unwrap_or_default())))
}

pub(crate) fn backoff(attempt: u32) -> Duration {
    runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP)
}

pub(crate) trait BatchTransaction: Sync {
    type Item: Send;

    /// Commits the batch. Removes items that are in effect already.
    fn commit(&self, batch: &mut Vec<Self::Item>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether a repeat can still help: not once the broker has requeued the messages.
    fn may_repeat(&self) -> bool;

    /// Marks an item that has failed, so that the next commit stores its failure. False when it is up to the caller.
    fn store_failure(&self, _item: &mut Self::Item, _failure: &Failure) -> bool {
        false
    }
}

#[derive(Debug)]
pub(crate) enum BatchOutcome<F> {
    /// Every item is in effect.
    Committed,
    /// Some items may not be in effect: receive them again.
    Interrupted,
    /// Waiting and repeating cannot help.
    Failed(F),
}

/// The items that have failed, each with its reason; all others are in effect.
pub(crate) type FailedItems<T> = Vec<(T, String)>;

/// Commits a batch, and applies the failure policy until every item is in effect or has failed.
pub(crate) async fn commit_batch<T: BatchTransaction>(
    health: &Health,
    transaction: &T,
    mut batch: Vec<T::Item>,
) -> BatchOutcome<FailedItems<T::Item>> {
    // Alone already: to try it alone again would count one failure twice.
    let mut failure_alone = match repeat(health, transaction, &mut batch).await {
        BatchOutcome::Committed => return BatchOutcome::Committed,
        BatchOutcome::Interrupted => return BatchOutcome::Interrupted,
        BatchOutcome::Failed(failure) => (batch.len() == 1).then_some(failure),
    };
    let mut failed = Vec::new();
    for item in batch {
        let mut alone = vec![item];
        let attempt = match failure_alone.take() {
            Some(failure) => BatchOutcome::Failed(failure),
            None => repeat(health, transaction, &mut alone).await,
        };
        match (attempt, alone.pop()) {
            (BatchOutcome::Interrupted, _) => return BatchOutcome::Interrupted,
            (BatchOutcome::Committed, _) | (_, None) => {}
            (BatchOutcome::Failed(failure), Some(mut item)) => {
                if !transaction.store_failure(&mut item, &failure) {
                    failed.push((item, failure.to_string()));
                    continue;
                }
                // In order: the items after it must not be in effect before its failure is stored.
                match repeat(health, transaction, &mut vec![item]).await {
                    BatchOutcome::Committed => {}
                    BatchOutcome::Interrupted => return BatchOutcome::Interrupted,
                    BatchOutcome::Failed(failure) => {
                        tracing::error!(%failure, "a failure could not be stored: the batch is received again");
                        return BatchOutcome::Interrupted;
                    }
                }
            }
        }
    }
    if failed.is_empty() { BatchOutcome::Committed } else { BatchOutcome::Failed(failed) }
}

/// Repeats the transaction while waiting or repeating can help.
async fn repeat<T: BatchTransaction>(
    health: &Health,
    transaction: &T,
    batch: &mut Vec<T::Item>,
) -> BatchOutcome<Failure> {
    let (mut attempt, mut contended, mut unavailable) = (0, 0, false);
    loop {
        let committed = timeout(TRANSACTION_TIMEOUT, transaction.commit(batch)).await;
        let Err(failure) = committed.unwrap_or_else(|_| Err(Failure::timed_out())) else {
            if unavailable {
                health.item("database").up();
            }
            return BatchOutcome::Committed;
        };
        tracing::debug!(%failure, attempt, "the transaction failed");
        match failure {
            Failure::Permanent(_) | Failure::NotForThisBuild(_) => return BatchOutcome::Failed(failure),
            Failure::Contention(_) if contended == CONTENTION_REPEATS => {
                return BatchOutcome::Failed(failure);
            }
            Failure::Contention(_) => contended += 1,
            Failure::Transient(reason) => {
                unavailable = true;
                health.item("database").down(reason);
            }
        }
        attempt += 1;
        tokio::time::sleep(backoff(attempt)).await;
        if !transaction.may_repeat() {
            return BatchOutcome::Interrupted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_failure_is_of_no_item() {
        let failure = Failure::of_no_item(sqlx::Error::RowNotFound);
        assert!(matches!(failure, Failure::Transient(_)), "{failure}");
    }

    #[tokio::test]
    async fn a_panic_keeps_its_text() {
        let plain = catch_panic(async { panic!("plain") }).await;
        assert_eq!(plain.expect_err("a panic").to_string(), "panic: plain");
        let made_up = catch_panic(async { panic!("made {}", "up") }).await;
        assert_eq!(made_up.expect_err("a panic").to_string(), "panic: made up");
        let other = catch_panic(async { std::panic::panic_any(7) }).await;
        assert_eq!(other.expect_err("a panic").to_string(), "panic: ");
    }
}
