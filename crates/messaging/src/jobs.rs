//! Work that talks to the outside: a durable queue in the service's database.
//!
//! A job is a row that a transaction writes. A worker claims it by moving its `run_at` past the lease, calls the outside
//! with no transaction open, and records the outcome in a transaction that deletes the row. A job that was recorded
//! before, by a worker whose lease expired, is not recorded again. So a call must be harmless to repeat: the job's id, or
//! a key in its payload, identifies it to the other side.
//!
//! While the outside fails, a [breaker](crate::breaker) keeps the worker from claiming: the jobs wait in their queue. Each
//! replica has a breaker of its own.

mod breaker_guard;
mod fetch;
mod job;
mod runner;
pub(crate) mod store;

pub use job::{Job, JobOutcome, JobSettings, Worker};
pub use runner::JobRunner;
