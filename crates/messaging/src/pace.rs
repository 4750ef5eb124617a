//! How often batches begin: a token bucket before whoever takes what has come.
//!
//! A transaction costs nearly the same for one message as for ten. Who takes at once whatever has come is as busy at
//! half of the load as at the whole, in ever smaller batches, and everybody else waits for the processor meanwhile.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The interval where somebody waits for the outcome. Between 10 and 25 ms a shorter one took more of the processor, and
/// a longer one more time, both by little.
pub const INTERVAL: Duration = Duration::from_millis(15);
/// The interval where nobody does.
pub const LEISURELY: Duration = Duration::from_millis(100);
/// How many batches may begin at once after a rest, so that what comes alone never waits.
const BURST: u32 = 3;

/// Lets one batch begin in every interval, and three at once after a rest.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// When the bucket will be full again: every batch moves it an interval away.
    full: Instant,
}

impl Pace {
    /// A full bucket, which gains a token every interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, full: Instant::now() }
    }

    /// Waits until a batch may begin. Nothing is lost when the future is dropped.
    pub async fn turn(&self) {
        let until_full = self.full.saturating_duration_since(Instant::now());
        let wait = until_full.saturating_sub(self.interval * (BURST - 1));
        // A timer of no time takes up to 1 ms all the same.
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Notes that a batch begins.
    pub fn begin(&mut self) {
        self.full = self.full.max(Instant::now()) + self.interval;
    }

    /// Notes that a batch of `count` begins which might have had `most`. A full one takes no token: waiting would not
    /// have made it larger.
    pub fn begin_with(&mut self, count: usize, most: usize) {
        if count < most {
            self.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MS: Duration = Duration::from_millis(10);

    /// When each of so many batches begins that come without a pause, in ms.
    async fn begins(pace: &mut Pace, count: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut begins = Vec::new();
        for _ in 0..count {
            pace.turn().await;
            begins.push(start.elapsed().as_millis());
            pace.begin();
        }
        begins
    }

    #[tokio::test(start_paused = true)]
    async fn three_begin_at_once_and_then_one_in_each_interval() {
        assert_eq!(begins(&mut Pace::new(TEN_MS), 6).await, [0, 0, 0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_holds_up_nobody() {
        let mut pace = Pace::new(TEN_MS);
        for _ in 0..10 {
            pace.begin_with(5, 5);
        }
        assert_eq!(begins(&mut pace, 4).await, [0, 0, 0, 10]);
        pace.begin_with(4, 5);
        assert_eq!(begins(&mut pace, 1).await, [20]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_lets_three_begin_at_once_again_and_a_longer_one_no_more() {
        let mut pace = Pace::new(TEN_MS);
        begins(&mut pace, 5).await;
        tokio::time::advance(TEN_MS * 100).await;
        assert_eq!(begins(&mut pace, 5).await, [0, 0, 0, 10, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_less_often_than_every_interval_never_waits() {
        let mut pace = Pace::new(TEN_MS);
        for _ in 0..10 {
            assert_eq!(begins(&mut pace, 1).await, [0]);
            tokio::time::advance(TEN_MS).await;
        }
    }
}
