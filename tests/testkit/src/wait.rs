//! Waiting for a condition, with a deadline. No test sleeps.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a test waits for what must happen: far longer than it takes, for a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until `look` gives `Ok`.
///
/// # Panics
/// When the deadline passes, with what was seen last.
pub async fn eventually<T, E: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + DEADLINE;
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => {
                assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}; seen last: {seen:?}");
            }
        }
    }
}
