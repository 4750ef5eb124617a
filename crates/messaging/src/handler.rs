//! What a service does with the events that it consumes.

use std::{future::Future, time::Duration};

use contracts::{EventSet, Versions};
use sqlx::PgConnection;

use crate::delivery::Delivery;
use crate::effects::Effects;
use crate::throttle;

/// Why a handler could not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The database rejected a statement, or is unavailable.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// The aggregate is in a state in which the event cannot happen. The text names aggregate, state and event.
    #[error("invalid transition: {0}")]
    InvalidTransition(String),
    /// Anything else, usually a bug.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Handles the events that a service subscribes to.
pub trait Handler: Send + Sync + 'static {
    /// The table of events that it is written against.
    type Event: EventSet;

    /// How often a batch begins under load. A longer interval makes batches larger and cheaper, and their events later.
    const PACE: Duration = throttle::INTERVAL;

    /// Handles a batch of events that are not in effect yet, in the given transaction: load many rows, fold over the
    /// events in their order, save many rows. Inbox, outbox, jobs and commit are the consumer's.
    ///
    /// The events of one order may come in any order; the handler must reach the same end. It may be called again
    /// with the same events in a new transaction, after an error.
    fn handle(
        &self,
        conn: &mut PgConnection,
        batch: &[Delivery<Self::Event>],
    ) -> impl Future<Output = Result<Effects<Self::Event>, HandlerError>> + Send;

    /// The versions of events that it reads.
    fn versions(&self) -> Versions<Self::Event> {
        Versions::current()
    }
}

/// Handles the events of the event stream.
pub trait StreamHandler: Send + Sync + 'static {
    /// The table of events that it is written against.
    type Event: EventSet;

    /// Handles events that are not in effect yet, in the order of the stream, in the given transaction.
    fn handle(
        &self,
        conn: &mut PgConnection,
        batch: &[Delivery<Self::Event>],
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// The versions of events that it reads.
    fn versions(&self) -> Versions<Self::Event> {
        Versions::current()
    }
}
