//! Work that talks to the outside: a durable queue in the service's database.
//!
//! A job is a row that a transaction writes. A worker claims it by moving its `run_at` past the lease, calls the outside
//! with no transaction open, and records the outcome in a transaction that deletes the row. A job that was recorded
//! before, by a worker whose lease expired, is not recorded again. So a call must be harmless to repeat: the job's id, or
//! a key in its payload, identifies it to the other side.
//!
//! Jobs of one key run one after the other, in the order in which they were written. Jobs that were never tried come
//! first, and those that are tried again get at most half of the places, so that a dependency that fails for some does
//! not starve the others.
//!
//! While the outside fails, a [breaker](crate::breaker) keeps the worker from claiming: the jobs wait in their queue. Each
//! lane of a queue has one, in each replica.
//!
//! What no call can settle is parked for an [operator], who retries or resolves it.

mod breaker_guard;
mod fetch;
mod job;
pub mod operator;
mod runner;
pub(crate) mod store;

pub use job::{Job, JobOutcome, JobSettings, Resolution, Worker};
pub use runner::JobRunner;
pub use store::withdraw;
