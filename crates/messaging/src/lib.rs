//! RabbitMQ and Postgres, made into one promise: what a transaction announced is published at least once, and
//! what is delivered takes effect exactly once.
//!
//! | module | what it does |
//! |---|---|
//! | [`outbox`] | writes events in the business transaction |
//! | [`relay`] | publishes what the outbox holds, and deletes what the broker confirmed |
//! | [`consumer`] | takes a batch of messages, and gives it to a [`Handler`] in one transaction with its [`inbox`] |
//! | [`failure`] | says which failures to wait out, to repeat, or to put aside |
//! | [`dead_letters`] | what is put aside, in the hands of a person: to look at, to try again, to remove |
//! | [`jobs`] | work that talks to the outside, from a durable queue, outside any transaction |
//! | [`throttle`] | how often batches begin, so that they are large under load |
//! | [`breaker`] | leaves jobs alone while the outside is in trouble |
//! | [`stream`] | reads the log of all events, its offset kept in the reader's transaction |
//!
//! A handler cannot publish: it returns [`Effects`], and they are written in its own transaction. The broker
//! itself is the business of the crate `amqp`.

pub mod breaker;
pub mod consumer;
pub mod dead_letters;
pub mod failpoint;
pub mod failure;
pub mod inbox;
pub mod jobs;
mod metrics;
pub mod outbox;
pub mod prune;
pub mod relay;
pub mod retry;
pub mod service_host;
pub mod stream;
pub mod throttle;
mod trace;

pub use amqp::{BrokerConfig, RetryDelays};
pub use breaker::{BreakerConfig, CallResult};
pub use consumer::{Consumer, Delivery, Handler};
pub use failure::HandlerError;
pub use jobs::{Job, JobOutcome, NewJob, Worker};
pub use outbox::{CausationContext, Effects, Outbox, OutgoingEvent};
pub use service_host::ServiceHost;

/// The migrations of schema `messaging`, which lives in the database of every service.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/messaging");
