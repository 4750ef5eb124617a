//! The system tests: one binary, each test in a world of its own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod analytics;
mod audit;
mod auditing;
mod benchmark;
mod databases;
mod dead_letters;
mod doctor;
mod documents;
mod environment;
mod generated;
mod http;
mod ledgers;
mod notifications;
mod outages;
mod overload;
mod placement;
mod plans;
mod privileges;
mod races;
mod readme;
mod replicas;
mod saga;
mod scripts;
mod shop;
mod statements;
mod tidy;
mod transactions;
mod versions;
