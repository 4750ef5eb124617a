//! Tries messages again that failed, each in a transaction of its own: its effect and the deletion of its row are one.

use std::time::Duration;

use runtime::health::Health;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::retry_policy::{Rejection, UNFINISHED_LIMIT};
use super::store::{self, Due};
use super::{Source, react_to};
use crate::delivery::Delivery;
use crate::effects::Effects;
use crate::failure_policy::{BatchOutcome, BatchTransaction, Failure, commit_batch};
use crate::inbox;
use crate::reaction::Reaction;
use crate::unit_of_work::Commit;

/// Tries the messages of one source again when they are due.
pub(crate) struct Retrier<'a, R: Reaction, C> {
    pub(crate) pool: &'a PgPool,
    pub(crate) health: &'a Health,
    pub(crate) source: &'a Source<R::Event>,
    pub(crate) reaction: &'a R,
    pub(crate) commit: C,
    pub(crate) shutdown: &'a CancellationToken,
}

/// A message that is due: its event, or why it is not in effect.
pub(crate) struct Retry<E> {
    due: Due,
    event: Result<Delivery<E>, Rejection>,
}

impl<R: Reaction, C: Commit<R::Event>> Retrier<'_, R, C> {
    /// Tries what is due, until the shutdown.
    pub(crate) async fn run(&self) {
        let interval = self.look_interval();
        while self.shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            self.try_due().await;
        }
    }

    /// How often [`try_due`](Self::try_due) is to be called.
    pub(crate) fn look_interval(&self) -> Duration {
        self.source.retries.look_interval()
    }

    /// Tries every message that is due.
    pub(crate) async fn try_due(&self) {
        while self.may_repeat() {
            match store::begin_attempt(self.pool, &self.source.name).await {
                Ok(Some(due)) => self.attempt(due).await,
                Ok(None) => return,
                Err(error) => return tracing::debug!(%error, "messages that are due wait for the database"),
            }
        }
    }

    async fn attempt(&self, due: Due) {
        let id = due.id;
        let event = if due.unfinished > UNFINISHED_LIMIT {
            Err(Rejection::GivenUp(format!("the process died in each of {UNFINISHED_LIMIT} attempts")))
        } else {
            self.source.delivery_of(&due.body)
        };
        let retry = vec![Retry { due, event }];
        if let BatchOutcome::Committed = commit_batch(self.health, self, retry).await {
            return;
        }
        if let Err(error) = store::withdraw_attempt(self.pool, id).await {
            tracing::warn!(%id, %error, "an attempt that was not made is counted as one in which the process died");
        }
    }

    async fn react(
        &self,
        conn: &mut PgConnection,
        delivery: &Delivery<R::Event>,
    ) -> Result<Effects<R::Event>, Failure> {
        let fresh = inbox::enter(conn, &[delivery.envelope.id]).await.map_err(Failure::of_no_item)?;
        // In effect already: it was delivered again.
        if fresh.is_empty() {
            return Ok(Effects::default());
        }
        react_to(self.reaction, conn, &[delivery]).await
    }
}

impl<R: Reaction, C: Commit<R::Event>> BatchTransaction for Retrier<'_, R, C> {
    type Item = Retry<R::Event>;

    async fn commit(&self, retries: &mut Vec<Retry<R::Event>>) -> Result<(), Failure> {
        let Some(Retry { due, event }) = retries.first() else { return Ok(()) };
        let mut tx = self.commit.begin(self.pool).await.map_err(Failure::of_no_item)?;
        if !store::lock(&mut tx, due).await.map_err(Failure::of_no_item)? {
            return Ok(());
        }
        match event {
            Ok(delivery) => {
                let effects = self.react(&mut tx, delivery).await?;
                store::delete(&mut tx, due.id).await?;
                self.commit.commit(tx, effects).await?;
                tracing::info!(
                    message = due.name(),
                    attempts = due.attempts,
                    "a message that had failed is in effect"
                );
            }
            Err(rejection) => {
                let retries = &self.source.retries;
                let wait = retries.wait(rejection, due.attempts, due.age());
                store::end_attempt(&mut tx, due, rejection, wait).await?;
                self.commit.commit(tx, Effects::default()).await?;
                retries.report(&self.source.name, due.name(), rejection, (due.attempts, due.age()));
            }
        }
        Ok(())
    }

    fn may_repeat(&self) -> bool {
        !self.shutdown.is_cancelled() && !self.commit.is_over()
    }

    fn store_failure(&self, retry: &mut Retry<R::Event>, failure: &Failure) -> bool {
        retry.event = Err(Rejection::of(failure));
        true
    }
}
