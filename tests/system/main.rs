//! The system tests: one binary, each test in a world of its own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod analytics;
mod audit;
#[cfg(feature = "bench")]
mod bench;
mod doctor;
mod environment;
mod generated;
mod http;
mod ledgers;
mod messaging;
mod notifications;
mod outages;
mod overload;
mod placing;
mod plans;
mod privileges;
mod races;
mod readme;
mod saga;
mod tidy;
mod transactions;
