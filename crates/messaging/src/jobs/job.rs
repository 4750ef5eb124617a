//! A job, its worker, and how it is run.

use std::{future::Future, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::breaker::{BreakerConfig, CallResult};
use crate::effects::CausationContext;
use crate::reaction::Reaction;

#[derive(Debug, Clone)]
pub struct Job {
    pub id: Uuid,
    /// The id of the aggregate that it is about.
    pub key: Uuid,
    /// What the worker needs to know.
    pub payload: Value,
    /// How often it was claimed, this time included.
    pub attempts: i32,
    /// The time since it was written.
    pub age: Duration,
    pub(super) lane: String,
    pub(super) resolution: Option<Resolution>,
    /// The context of what its outcome causes.
    pub origin: CausationContext,
}

#[derive(Debug)]
pub enum JobOutcome<T> {
    /// This outcome is definite, and is recorded.
    Completed(T),
    /// The outcome is unknown, or was refused for now: the job runs again after a backoff. The text says why.
    Retry(String),
    /// No call can settle the job: it waits for an operator. The text says why.
    Parked(String),
}

/// What an operator found out about a parked job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// How the call ended, in the worker's words, such as `captured`.
    pub outcome: String,
    /// The other side's name for what the call made, where the worker asks for one.
    pub reference: Option<String>,
    pub reason: String,
}

/// Does the jobs of one queue.
pub trait Worker: Send + Sync + 'static {
    /// What a call that completed returned.
    type Outcome: Send + Sync + 'static;
    /// Records outcomes, in the transaction that deletes the rows of their jobs.
    type Reaction: Reaction;

    /// Calls the outside, and says what that tells about the outside itself. No transaction is open. A panic counts as
    /// [`JobOutcome::Retry`].
    fn call(&self, job: &Job) -> impl Future<Output = (JobOutcome<Self::Outcome>, CallResult)> + Send;

    /// The outcome that an operator found out.
    ///
    /// # Errors
    /// A text that says which outcomes the job can have, when it cannot have this one: it stays parked.
    fn resolve(&self, job: &Job, resolution: &Resolution) -> Result<Self::Outcome, String>;

    /// The outcome as an input of the reaction; `None` when there is nothing to record but that the job is done.
    fn input(job: &Job, outcome: &Self::Outcome) -> Option<<Self::Reaction as Reaction>::Input>;

    fn reaction(&self) -> &Self::Reaction;
}

#[derive(Debug, Clone)]
pub struct JobSettings {
    pub queue: &'static str,
    /// The most calls in flight at once.
    pub concurrency: usize,
    /// How long a claimed job is not claimed again: longer than any call takes.
    pub lease: Duration,
    /// The ceiling of the first backoff of a job that runs again; it doubles with every further one.
    pub backoff_base: Duration,
    pub backoff_cap: Duration,
    /// The name in logs and metrics of what its calls depend on.
    pub dependency: &'static str,
    /// Of each lane.
    pub breaker: BreakerConfig,
}
