//! The one place where a service reads the clock and draws ids. Everywhere else both are arguments.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// The time now, in microseconds: what Postgres keeps, so that a stored time reads back as it was written.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A fresh id (UUIDv7: ids drawn later sort later).
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
