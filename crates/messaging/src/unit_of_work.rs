//! The end of every transaction of a service: its effects are written with its own tables, then it is committed.

use std::sync::Arc;

use contracts::{EventSet, ServiceName};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::Notify;

use crate::effects::Effects;
use crate::failpoint::{self, Failpoint};
use crate::failure_policy::Failure;
use crate::jobs::store;
use crate::outbox;

/// How the transaction of a batch begins and ends.
pub(crate) trait Commit<E>: Send + Sync {
    fn begin(
        &self,
        pool: &PgPool,
    ) -> impl Future<Output = sqlx::Result<Transaction<'static, Postgres>>> + Send;

    /// Writes the effects and commits.
    fn commit(
        &self,
        tx: Transaction<'static, Postgres>,
        effects: Effects<E>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether no transaction can be committed any more, because another replica leads.
    fn is_over(&self) -> bool {
        false
    }
}

/// Commits the transactions of one service. Clones share it.
#[derive(Debug, Clone)]
pub struct UnitOfWork {
    pub service: ServiceName,
    pub(crate) events_written: Arc<Notify>,
    pub(crate) jobs_written: Arc<Notify>,
}

impl UnitOfWork {
    /// Of the service that runs in this process: an event that it does not own is an error.
    pub fn new(service: ServiceName) -> Self {
        Self { service, events_written: Arc::default(), jobs_written: Arc::default() }
    }

    /// Writes the effects into the transaction, commits it, and wakes relay and job runners.
    ///
    /// Lock the aggregates first: the outbox draws its ids here, and publishes the events of one aggregate in the
    /// order of these ids. When the commit itself was interrupted, the transaction may be in effect.
    pub async fn commit<E: EventSet>(
        &self,
        mut tx: Transaction<'_, Postgres>,
        effects: Effects<E>,
    ) -> sqlx::Result<()> {
        outbox::insert(&mut tx, self.service, &effects.events).await?;
        store::insert(&mut tx, &effects.jobs).await?;
        failpoint::hit(Failpoint::BeforeCommit);
        tx.commit().await?;
        failpoint::hit(Failpoint::AfterCommitBeforePublish);
        if !effects.events.is_empty() {
            self.events_written.notify_one();
        }
        if !effects.jobs.is_empty() {
            self.jobs_written.notify_one();
        }
        Ok(())
    }
}

impl<E: EventSet> Commit<E> for UnitOfWork {
    async fn begin(&self, pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
        runtime::database::begin(pool).await
    }

    async fn commit(&self, tx: Transaction<'static, Postgres>, effects: Effects<E>) -> Result<(), Failure> {
        Ok(Self::commit(self, tx, effects).await?)
    }
}
