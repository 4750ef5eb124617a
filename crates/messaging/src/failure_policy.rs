//! The failure policy of consumer, stream reader and jobs.
//!
//! | failure | example | what happens |
//! |---|---|---|
//! | transient | the database is unavailable | the batch is repeated until it is in effect; no attempt is counted |
//! | contention | a deadlock, a lock timeout | the batch is repeated up to 10 times; no attempt is counted |
//! | permanent | a violated constraint, an invalid transition, a panic | each item is tried alone; what fails alone has failed |
//!
//! What happens to an item that has failed is up to the caller: the consumer schedules a retry or makes it a dead letter,
//! the stream reader stores it as a dead letter, a job runs again later.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use runtime::database::{self, DbErrorKind};
use runtime::error::with_sources;
use runtime::health::Health;

use crate::timeouts::{TimedOut, in_time};

const CONTENTION_REPEATS: u32 = 10;
const BACKOFF_BASE: Duration = Duration::from_millis(20);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

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
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let text = with_sources(&error);
        match database::error_kind(&error) {
            DbErrorKind::Unavailable => Self::Transient(text),
            DbErrorKind::Contention => Self::Contention(text),
            DbErrorKind::Rejected => Self::Permanent(text),
        }
    }
}

impl From<TimedOut> for Failure {
    fn from(error: TimedOut) -> Self {
        Self::Transient(error.to_string())
    }
}

impl Failure {
    /// A failure before any item was looked at. Whatever the database says, no item caused it.
    pub(crate) fn of_no_item(error: sqlx::Error) -> Self {
        match error.into() {
            Self::Permanent(reason) => Self::Transient(reason),
            other => other,
        }
    }
}

/// Runs the code of a service. Its panic is a permanent failure: a bug that this item triggers.
pub(crate) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Failure::Permanent(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// How long to wait before the next attempt.
pub(crate) fn backoff(attempt: u32) -> Duration {
    runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP)
}

/// A transaction that takes a batch of items.
pub(crate) trait BatchTransaction: Sync {
    type Item: Send;

    /// Commits the batch. Removes items that are in effect already.
    fn commit(&self, batch: &mut Vec<Self::Item>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether a repeat can still help: not once the broker has requeued the messages.
    fn may_repeat(&self) -> bool;

    /// Marks an item that has failed, so that the next commit stores its failure. False when it is up to the caller.
    fn store_failure(&self, _item: &mut Self::Item, _reason: &str) -> bool {
        false
    }
}

/// What a batch comes to.
#[derive(Debug)]
pub(crate) enum BatchOutcome<T> {
    /// Every item is in effect.
    Committed,
    /// Some items may not be in effect: receive them again.
    Interrupted,
    /// These items have failed, each with its reason; all others are in effect.
    Failed(Vec<(T, String)>),
}

/// Commits a batch, and applies the failure policy until every item is in effect or has failed.
pub(crate) async fn commit_batch<T: BatchTransaction>(
    health: &Health,
    transaction: &T,
    mut batch: Vec<T::Item>,
) -> BatchOutcome<T::Item> {
    let together = repeat(health, transaction, &mut batch).await;
    // Alone already: to try it alone again would count one failure twice.
    let mut reason_alone = match together {
        Attempt::Committed => return BatchOutcome::Committed,
        Attempt::Interrupted => return BatchOutcome::Interrupted,
        Attempt::Failed(reason) => (batch.len() == 1).then_some(reason),
    };
    let mut failed = Vec::new();
    for item in batch {
        let mut alone = vec![item];
        let attempt = match reason_alone.take() {
            Some(reason) => Attempt::Failed(reason),
            None => repeat(health, transaction, &mut alone).await,
        };
        match (attempt, alone.pop()) {
            (Attempt::Interrupted, _) => return BatchOutcome::Interrupted,
            (Attempt::Committed, _) | (_, None) => {}
            (Attempt::Failed(reason), Some(mut item)) => {
                if !transaction.store_failure(&mut item, &reason) {
                    failed.push((item, reason));
                    continue;
                }
                // In order: the items after it must not be in effect before its failure is stored.
                match repeat(health, transaction, &mut vec![item]).await {
                    Attempt::Committed => {}
                    Attempt::Interrupted => return BatchOutcome::Interrupted,
                    Attempt::Failed(reason) => {
                        tracing::error!(reason, "a failure could not be stored and is tried again");
                        return BatchOutcome::Interrupted;
                    }
                }
            }
        }
    }
    if failed.is_empty() { BatchOutcome::Committed } else { BatchOutcome::Failed(failed) }
}

enum Attempt {
    Committed,
    Interrupted,
    Failed(String),
}

/// Repeats the transaction while waiting or repeating can help.
async fn repeat<T: BatchTransaction>(health: &Health, transaction: &T, batch: &mut Vec<T::Item>) -> Attempt {
    let (mut attempt, mut contended, mut unavailable) = (0, 0, false);
    loop {
        let Err(failure) = in_time(transaction.commit(batch)).await else {
            if unavailable {
                health.item("database").up();
            }
            return Attempt::Committed;
        };
        tracing::debug!(%failure, attempt, "the transaction failed");
        match failure {
            Failure::Permanent(reason) => return Attempt::Failed(reason),
            Failure::Contention(reason) if contended == CONTENTION_REPEATS => {
                return Attempt::Failed(reason);
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
            return Attempt::Interrupted;
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
