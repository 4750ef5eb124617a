//! How often batches begin: a token bucket before whoever takes what has come.
//!
//! A transaction costs nearly the same for one message as for ten. Who takes at once whatever has come is as busy at
//! half of the load as at the whole, in ever smaller batches, and everybody else waits for the processor meanwhile.
//! Where there is not enough of it, batches take long, and whoever [rests](BatchThrottle::end) as long as they took leaves it to
//! the others.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The interval where somebody waits for the outcome. Between 10 and 25 ms a shorter one took more of the processor, and
/// a longer one more time, both by little.
pub const INTERVAL: Duration = Duration::from_millis(15);
/// The interval where nobody does.
pub const BACKGROUND_INTERVAL: Duration = Duration::from_millis(100);
/// How many batches may begin at once after a pause, so that what comes alone never waits.
const BURST: u32 = 3;
/// The longest rest after a batch: one that was stuck says nothing of the next.
const MAX_COOLDOWN: Duration = Duration::from_millis(100);

/// Lets one batch begin in every interval, and three at once after a pause.
#[derive(Debug)]
pub struct BatchThrottle {
    interval: Duration,
    /// When the bucket will be full again: every batch moves it an interval away.
    full: Instant,
    /// When the batch began that is under way.
    begun: Option<Instant>,
}

impl BatchThrottle {
    /// A full bucket, which gains a token every interval.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, full: Instant::now(), begun: None }
    }

    /// Waits until a batch may begin. Nothing is lost when the future is dropped.
    pub async fn ready(&self) {
        let until_full = self.full.saturating_duration_since(Instant::now());
        let wait = until_full.saturating_sub(self.interval * (BURST - 1));
        // A timer of no time takes up to 1 ms all the same.
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Notes that a batch begins.
    pub fn begin(&mut self) {
        let now = Instant::now();
        self.full = self.full.max(now) + self.interval;
        self.begun = Some(now);
    }

    /// Notes that a batch of `count` begins which might have had `most`. A full one takes no token, and needs no rest:
    /// waiting would not have made it larger.
    pub fn begin_with(&mut self, count: usize, most: usize) {
        if count < most {
            self.begin();
        }
    }

    /// Notes that the batch has ended. One that took longer than half of the interval makes the next wait until it has
    /// rested as long as it took.
    pub fn end(&mut self) {
        if let Some(begun) = self.begun.take() {
            let took = begun.elapsed();
            self.full += (took + took.min(MAX_COOLDOWN)).saturating_sub(self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MS: Duration = Duration::from_millis(10);

    /// When each of so many batches begins that come without a pause and take no time, in ms.
    async fn begins(throttle: &mut BatchThrottle, count: usize) -> Vec<u128> {
        begins_of_long(throttle, Duration::ZERO, count).await
    }

    #[tokio::test(start_paused = true)]
    async fn three_begin_at_once_and_then_one_in_each_interval() {
        assert_eq!(begins(&mut BatchThrottle::new(TEN_MS), 6).await, [0, 0, 0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_holds_up_nobody() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        for _ in 0..10 {
            throttle.begin_with(5, 5);
        }
        assert_eq!(begins(&mut throttle, 4).await, [0, 0, 0, 10]);
        throttle.begin_with(4, 5);
        assert_eq!(begins(&mut throttle, 1).await, [20]);
    }

    /// When each of so many batches begins that come without a pause and take so long each, in ms.
    async fn begins_of_long(throttle: &mut BatchThrottle, took: Duration, count: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut begins = Vec::new();
        for _ in 0..count {
            throttle.ready().await;
            begins.push(start.elapsed().as_millis());
            throttle.begin();
            tokio::time::advance(took).await;
            throttle.end();
        }
        begins
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_batch_is_followed_by_a_rest_as_long_once_there_is_no_token_left() {
        let begins = begins_of_long(&mut BatchThrottle::new(TEN_MS), TEN_MS * 3, 4).await;
        assert_eq!(begins, [0, 40, 100, 160]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_was_stuck_makes_nobody_rest_for_longer_than_the_longest_rest() {
        let minute = Duration::from_mins(1);
        let begins = begins_of_long(&mut BatchThrottle::new(TEN_MS), minute, 3).await;
        assert_eq!(begins, [0, 60_080, 120_180]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_needs_no_rest() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        throttle.begin_with(5, 5);
        tokio::time::advance(TEN_MS * 10).await;
        throttle.end();
        assert_eq!(begins(&mut throttle, 4).await, [0, 0, 0, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_lets_three_begin_at_once_again_and_a_longer_one_no_more() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        begins(&mut throttle, 5).await;
        tokio::time::advance(TEN_MS * 100).await;
        assert_eq!(begins(&mut throttle, 5).await, [0, 0, 0, 10, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_less_often_than_every_interval_never_waits() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        for _ in 0..10 {
            assert_eq!(begins(&mut throttle, 1).await, [0]);
            tokio::time::advance(TEN_MS).await;
        }
    }
}
