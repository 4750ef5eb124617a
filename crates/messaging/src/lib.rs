//! Durable messaging on Postgres, over RabbitMQ: an event of a committed transaction is published at least once, and
//! a delivered event takes effect exactly once.
//!
//! | module | what it does |
//! |---|---|
//! | [`reaction`] | what a service implements: open, fold, save |
//! | [`effects`] | events to publish, jobs to run |
//! | [`unit_of_work`] | writes the effects in the business transaction, commits, wakes relay and job runners |
//! | [`outbox`], [`relay`] | events as rows; publishing them, and deleting what the broker confirmed |
//! | [`lease`] | who leads, with a token that fences former leaders |
//! | [`consumer`] | takes a batch of messages through [`Reaction`] and [`inbox`] in one transaction |
//! | [`stream_reader`] | reads the event stream, its offset stored in the reader's transaction |
//! | [`failure_policy`] | which failures are waited for, repeated, or belong to one item |
//! | [`failed_messages`] | messages that failed as rows, and their retries |
//! | [`dead_letters`] | list, replay and discard those that have no further attempt |
//! | [`jobs`], [`breaker`] | calls to the outside from a durable queue, held back while the outside fails |
//! | [`throttle`] | how often batches begin, so that they are large under load |
//! | [`transitions`] | prints state transition tables |
//! | [`service_host`] | starts all of it for one service |
//!
//! A reaction cannot publish: it returns an [`Outcome`], whose events and jobs are written in its own transaction. The broker
//! itself is the business of the crate `amqp`.

pub mod breaker;
pub mod consumer;
pub mod dead_letters;
pub mod delivery;
pub mod effects;
pub mod failed_messages;
pub mod failpoint;
pub mod failure_policy;
pub mod inbox;
pub mod jobs;
pub mod lease;
mod metrics;
pub mod outbox;
pub mod prune;
pub mod reaction;
pub mod relay;
pub mod service_host;
pub mod stream_reader;
pub mod throttle;
mod trace;
pub mod transitions;
pub mod unit_of_work;

pub use amqp::BrokerConfig;
pub use breaker::{BreakerConfig, CallResult};
pub use consumer::Consumer;
pub use delivery::Delivery;
pub use effects::{CausationContext, Effects, NewJob, OutgoingEvent};
pub use failed_messages::{RetryConfig, RetryDelays};
pub use jobs::{Job, JobOutcome, Worker};
pub use reaction::{Outcome, Reaction, ReactionError};
pub use service_host::{HostConfig, ServiceHost};
pub use unit_of_work::UnitOfWork;

/// The migrations of schema `messaging`, which lives in the database of every service.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/messaging");
