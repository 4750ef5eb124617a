//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng;

/// Exponential backoff with full jitter: a random time up to `base * 2^attempt`, at most `cap`.
///
/// `attempt` counts from 0. Full jitter spreads a crowd that failed together
/// (AWS Architecture Blog, "Exponential Backoff And Jitter").
pub fn backoff(attempt: u32, base: Duration, cap: Duration) -> Duration {
    let ceiling = base.saturating_mul(2_u32.saturating_pow(attempt)).min(cap);
    rand::rng().random_range(Duration::ZERO..=ceiling)
}

/// A random time between half of `pause` and all of it: long enough to be a pause, and not the same in every replica.
pub fn spread(pause: Duration) -> Duration {
    rand::rng().random_range(pause / 2..=pause)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_backoff_is_never_above_its_ceiling(attempt in any::<u32>(), base in 0_u64..10_000, cap in 0_u64..100_000) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
            let wait = backoff(attempt, base, cap);
            prop_assert!(wait <= cap);
            prop_assert!(attempt > 16 || wait <= base * 2_u32.pow(attempt));
        }

        #[test]
        fn a_pause_is_spread_over_its_second_half(pause in 0_u64..100_000) {
            let pause = Duration::from_millis(pause);
            let wait = spread(pause);
            prop_assert!(pause / 2 <= wait && wait <= pause);
        }
    }

    #[test]
    fn backoffs_of_one_attempt_differ() {
        let waits: std::collections::BTreeSet<_> =
            (0..20).map(|_| backoff(10, Duration::from_secs(1), Duration::from_secs(60))).collect();
        assert!(waits.len() > 1);
    }
}
