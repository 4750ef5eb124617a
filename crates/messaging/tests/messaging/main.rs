//! Messaging against the real Postgres and RabbitMQ, with small handlers of the tests' own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod blocked;
mod breaker;
mod consumer;
mod failures;
mod jobs;
mod poison;
mod prune;
mod relay;
mod stream;
mod topology;
