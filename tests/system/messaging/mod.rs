//! Messaging against the real Postgres and RabbitMQ, with small handlers of the tests' own.

mod bench;
mod clerk;
mod facts;
mod inlet;
mod proxy;
mod recorder;

mod blocked;
mod breaker;
mod consumer;
mod dead_letters;
#[cfg(feature = "chaos")]
mod detour;
mod failures;
mod idempotency;
mod jobs;
mod poison;
mod relay;
mod replicas;
mod statements;
mod stream;
mod topology;
