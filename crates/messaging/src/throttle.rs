//! How often batches begin: a token bucket in front of everything that handles batches.
//!
//! A transaction costs nearly the same for one message as for ten. A consumer that takes every message at once uses as much
//! of the processor at half of the load as at full load, in ever smaller batches, and other processes wait meanwhile.
//! When the processor is overloaded, batches take long; a [cooldown](BatchThrottle::end) as long as the batch leaves time
//! to the others.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The interval when a person or another service waits for the outcome. Measured between 10 and 25 ms: a shorter interval
/// uses slightly more of the processor, a longer one adds slightly more latency.
pub const INTERVAL: Duration = Duration::from_millis(15);
/// The interval when nobody waits.
pub const BACKGROUND_INTERVAL: Duration = Duration::from_millis(100);
/// How many batches may begin at once after a pause, so that a single message never waits.
const BURST: u32 = 3;
/// The longest cooldown: a batch that was stuck on a lock says nothing about the load.
const MAX_COOLDOWN: Duration = Duration::from_millis(100);

/// Permits one batch per interval, and three at once after a pause.
#[derive(Debug)]
pub struct BatchThrottle {
    interval: Duration,
    /// When the bucket is full again. Every batch takes a token: it moves this by an interval. One number is enough: it
    /// also tells how many tokens there are now.
    full: Instant,
    /// When the current batch began; none for a full batch, which has no cooldown.
    begun: Option<Instant>,
}

impl BatchThrottle {
    /// A full bucket, which gains a token every interval.
    pub fn new(interval: Duration) -> Self {
        Self { interval, full: Instant::now(), begun: None }
    }

    /// Waits until a batch may begin. Takes no token, so the future may be dropped.
    pub async fn ready(&self) {
        let until_full = self.full.saturating_duration_since(Instant::now());
        let wait = until_full.saturating_sub(self.interval * (BURST - 1));
        // Even a timer of zero takes up to 1 ms.
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    pub fn begin(&mut self) {
        let now = Instant::now();
        self.full = self.full.max(now) + self.interval;
        self.begun = Some(now);
    }

    /// A batch of `count` of at most `most` begins. A full batch takes no token and has no cooldown: waiting could not have
    /// made it larger.
    pub fn begin_with(&mut self, count: usize, most: usize) {
        if count < most {
            self.begin();
        }
    }

    /// The batch has ended. When it took longer than half of the interval, the next one waits for as long as it took.
    pub fn end(&mut self) {
        if let Some(begun) = self.begun.take() {
            let took = begun.elapsed();
            // Its token has paid for one interval of the batch and its cooldown.
            self.full += (took + took.min(MAX_COOLDOWN)).saturating_sub(self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MS: Duration = Duration::from_millis(10);

    /// When each of `count` batches begins, in ms, that follow each other and take no time.
    async fn begins(throttle: &mut BatchThrottle, count: usize) -> Vec<u128> {
        begins_after(throttle, Duration::ZERO, count).await
    }

    #[tokio::test(start_paused = true)]
    async fn three_begin_at_once_then_one_per_interval() {
        assert_eq!(begins(&mut BatchThrottle::new(TEN_MS), 6).await, [0, 0, 0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_takes_no_token() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        for _ in 0..10 {
            throttle.begin_with(5, 5);
        }
        assert_eq!(begins(&mut throttle, 4).await, [0, 0, 0, 10]);
        throttle.begin_with(4, 5);
        assert_eq!(begins(&mut throttle, 1).await, [20]);
    }

    /// When each of `count` batches begins, in ms, that follow each other and take `took` each.
    async fn begins_after(throttle: &mut BatchThrottle, took: Duration, count: usize) -> Vec<u128> {
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
    async fn a_long_batch_is_followed_by_a_cooldown_as_long() {
        let begins = begins_after(&mut BatchThrottle::new(TEN_MS), TEN_MS * 3, 4).await;
        assert_eq!(begins, [0, 40, 100, 160]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_cooldown_of_a_stuck_batch_is_limited() {
        let minute = Duration::from_mins(1);
        let begins = begins_after(&mut BatchThrottle::new(TEN_MS), minute, 3).await;
        assert_eq!(begins, [0, 60_080, 120_180]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_has_no_cooldown() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        throttle.begin_with(5, 5);
        tokio::time::advance(TEN_MS * 10).await;
        throttle.end();
        assert_eq!(begins(&mut throttle, 4).await, [0, 0, 0, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_any_length_permits_three_at_once() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        begins(&mut throttle, 5).await;
        tokio::time::advance(TEN_MS * 100).await;
        assert_eq!(begins(&mut throttle, 5).await, [0, 0, 0, 10, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_per_interval_never_waits() {
        let mut throttle = BatchThrottle::new(TEN_MS);
        for _ in 0..10 {
            assert_eq!(begins(&mut throttle, 1).await, [0]);
            tokio::time::advance(TEN_MS).await;
        }
    }
}
