//! How a service reacts. [`open`](Reaction::open) locks and loads what a batch is about, the pure
//! [`fold`](Reaction::fold) decides, [`save`](Reaction::save) writes. Queues, the event stream and the results of jobs
//! all come this way.

use std::{future::Future, time::Duration};

use contracts::{Event, EventSet, InvalidTransition, Versions};
use sqlx::PgConnection;

use crate::delivery::Delivery;
use crate::effects::{CausationContext, Effects, NewJob, OutgoingEvent};
use crate::failure_policy::{Failure, catch_panic};
use crate::throttle;

#[derive(Debug, thiserror::Error)]
pub enum ReactionError {
    /// The database rejected a statement, or is unavailable.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// An input is not valid in the state of its aggregate.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<ReactionError> for Failure {
    fn from(error: ReactionError) -> Self {
        match error {
            ReactionError::Database(error) => error.into(),
            ReactionError::InvalidTransition(_) => Self::Permanent(error.to_string()),
            ReactionError::Other(error) => Self::Permanent(format!("{error:#}")),
        }
    }
}

/// What a service fills in to react to a batch of inputs in one transaction. Inbox, outbox, jobs and commit are done
/// around it.
///
/// The events of one aggregate may arrive in any order, and a failed batch is tried again in a new transaction: the
/// end must be the same.
pub trait Reaction: Send + Sync + 'static {
    /// How often a batch begins under load. A longer interval makes batches larger and cheaper, and effects later.
    const INTERVAL: Duration = throttle::INTERVAL;

    /// The table of events that it is written against.
    type Event: EventSet;
    /// What it reacts to: an event that was consumed or, with jobs, also the result of one.
    type Input: Send + Sync;
    type State: Send;
    /// What a batch changes in the service's own tables.
    type Changes: Send + Sync;

    /// The delivery as an input; `None` when the event is of no interest here.
    fn input(delivery: &Delivery<Self::Event>) -> Option<Self::Input>;

    /// The versions of events that it reads.
    fn versions(&self) -> Versions<Self::Event> {
        Versions::current()
    }

    /// Locks and loads what the inputs are about. Reads the clock and draws ids where [`fold`](Self::fold) needs them.
    fn open(
        &self,
        conn: &mut PgConnection,
        inputs: &[Self::Input],
    ) -> impl Future<Output = Result<Self::State, ReactionError>> + Send;

    /// Applies the inputs to the state, in their order. Pure, so that simulation and model run it as it is. On an input that
    /// is not valid, the whole batch is rolled back, and its inputs are tried one by one.
    fn fold(
        state: Self::State,
        inputs: &[Self::Input],
    ) -> Result<Outcome<Self::Changes, Self::Event>, InvalidTransition>;

    /// Writes what changed. Events and jobs are written by the caller.
    fn save(
        &self,
        conn: &mut PgConnection,
        changed: &Self::Changes,
    ) -> impl Future<Output = Result<(), ReactionError>> + Send;
}

#[derive(Debug)]
pub struct Outcome<C, E = Event> {
    pub changed: C,
    /// Events to publish, in this order.
    pub events: Vec<OutgoingEvent<E>>,
    /// Jobs to run after the commit.
    pub jobs: Vec<NewJob>,
}

impl<C: Default, E> Default for Outcome<C, E> {
    fn default() -> Self {
        Self { changed: C::default(), events: Vec::new(), jobs: Vec::new() }
    }
}

impl<C, E> Outcome<C, E> {
    /// Publishes what an aggregate did that is of this version by it.
    pub fn publish(&mut self, events: Vec<E>, aggregate_version: i64, origin: &CausationContext) {
        let outgoing = |event| OutgoingEvent { event, aggregate_version, origin: origin.clone() };
        self.events.extend(events.into_iter().map(outgoing));
    }
}

/// Runs the inputs through the reaction in the given transaction. A panic is a failure of the inputs.
pub(crate) async fn react<R: Reaction>(
    reaction: &R,
    conn: &mut PgConnection,
    inputs: &[R::Input],
) -> Result<Effects<R::Event>, Failure> {
    if inputs.is_empty() {
        return Ok(Effects::default());
    }
    let reacted = catch_panic(async {
        let state = reaction.open(conn, inputs).await?;
        let outcome = R::fold(state, inputs)?;
        reaction.save(conn, &outcome.changed).await?;
        Ok::<_, ReactionError>(Effects { events: outcome.events, jobs: outcome.jobs })
    });
    Ok(reacted.await??)
}
