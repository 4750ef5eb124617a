//! The card processor from outside: over HTTP, and as a process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorizations;
mod faults;
mod process;
mod restart;
mod support;
