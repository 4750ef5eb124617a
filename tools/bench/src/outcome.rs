//! What a load came to: latencies, and whether the system kept up.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use loadgen::{LoadResult, percentile};

/// A backlog is bounded when it is never larger than what comes in this time,
const BACKLOG_SECONDS: f64 = 2.0;
/// and in a load that is short grows by no more than what comes in this time, by which it goes up and down by itself,
const GROWTH_SECONDS: f64 = 1.0;
/// or by this part of what comes meanwhile.
const GROWTH_PART: f64 = 0.1;

/// An order's way, from when it was to be placed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Journey {
    pub(super) due: DateTime<Utc>,
    pub(super) confirmed: Option<DateTime<Utc>>,
    pub(super) ended: DateTime<Utc>,
    pub(super) cancelled: bool,
    /// Ended, mailed and counted.
    pub(super) whole: DateTime<Utc>,
}

/// Latencies in ms, from when the order was to be placed (no coordinated omission).
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Latency {
    fn of(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        let at = |percent| percentile(&ms, percent).unwrap_or(f64::NAN);
        Self { p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: at(100) }
    }
}

/// What a load came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    /// Orders that were placed a second.
    pub(super) rate: f64,
    /// Orders that were taken.
    pub(super) orders: usize,
    /// Answers other than 202.
    pub(super) refused: BTreeMap<String, u64>,
    /// Orders that were cancelled: by their deadlines, since nobody else does here.
    pub(super) cancelled: usize,
    /// Placed to confirmed.
    pub(super) confirmed: Latency,
    /// Placed to completed.
    pub(super) completed: Latency,
    /// Placed to completed, mailed and counted by analytics.
    pub(super) whole: Latency,
    /// Orders under way at the end of each second of the load.
    pub(super) backlog: Vec<usize>,
}

impl Outcome {
    pub(super) fn of(journeys: &[Journey], rate: f64, result: LoadResult) -> Self {
        let LoadResult { begun, accepted, refused, .. } = result;
        let latency = |end: fn(&Journey) -> Option<DateTime<Utc>>| {
            let took = |journey: &Journey| Some((end(journey)? - journey.due).as_seconds_f64() * 1000.0);
            Latency::of(journeys.iter().filter_map(took).collect())
        };
        let seconds = (accepted.len() as u64 + refused.values().sum::<u64>()) as f64 / rate;
        let backlog = (1..=seconds.round() as i64)
            .map(|second| under_way(journeys, begun + TimeDelta::seconds(second)))
            .collect();
        Self {
            rate,
            orders: journeys.len(),
            refused,
            cancelled: journeys.iter().filter(|journey| journey.cancelled).count(),
            confirmed: latency(|journey| journey.confirmed),
            completed: latency(|journey| Some(journey.ended)),
            whole: latency(|journey| Some(journey.whole)),
            backlog,
        }
    }

    /// Whether the system kept up: it took every order, cancelled none, and what was under way in the second half never
    /// came to more than the orders of 2 s, nor grew by more than a tenth of what came, or those of a second.
    pub(super) fn kept_up(&self) -> bool {
        let (first, second) = self.backlog.split_at(self.backlog.len() / 2);
        let bounded = second.iter().all(|under_way| (*under_way as f64) <= self.rate * BACKLOG_SECONDS);
        let growth = match (first.last(), second.last()) {
            (Some(before), Some(after)) => *after as f64 - *before as f64,
            _ => 0.0,
        };
        let allowed = self.rate * GROWTH_SECONDS.max(GROWTH_PART * second.len() as f64);
        self.refused.is_empty() && self.cancelled == 0 && bounded && growth <= allowed
    }
}

fn under_way(journeys: &[Journey], at: DateTime<Utc>) -> usize {
    journeys.iter().filter(|journey| journey.due <= at && journey.whole > at).count()
}

#[cfg(test)]
mod tests {
    use loadgen::Accepted;
    use uuid::Uuid;

    use super::*;

    /// At 10 a second for 4 s; each takes so many ms, from a given second on.
    fn outcome(slow_from: i64, slow_ms: i64) -> Outcome {
        let begun = DateTime::UNIX_EPOCH;
        let journeys = (0..40).map(|number| {
            let due = begun + TimeDelta::milliseconds(number * 100);
            let ms = if number >= slow_from * 10 { slow_ms } else { 50 };
            let ended = due + TimeDelta::milliseconds(ms);
            Journey {
                due,
                confirmed: Some(due + TimeDelta::milliseconds(20)),
                ended,
                cancelled: false,
                whole: ended,
            }
        });
        let journeys: Vec<_> = journeys.collect();
        let accepted =
            |journey: &Journey| Accepted { key: String::new(), order_id: Uuid::nil(), due: journey.due };
        let accepted = journeys.iter().map(accepted).collect();
        Outcome::of(&journeys, 10.0, LoadResult { accepted, ..LoadResult::new(begun) })
    }

    #[test]
    fn latencies_count_from_when_an_order_was_due() {
        let outcome = outcome(4, 0);
        assert_eq!((outcome.orders, outcome.confirmed.p99_ms, outcome.whole.max_ms), (40, 20.0, 50.0));
        // The one that is due right then is under way.
        assert_eq!(outcome.backlog, [1, 1, 1, 0]);
        assert!(outcome.kept_up());
    }

    #[test]
    fn a_backlog_of_more_than_two_seconds_is_not_kept_up_with() {
        let slow = outcome(0, 60_000);
        assert_eq!(slow.backlog, [11, 21, 31, 40]);
        assert!(!slow.kept_up());
    }

    #[test]
    fn a_backlog_that_grows_is_not_kept_up_with_however_short_the_load() {
        let growing = outcome(2, 60_000);
        assert_eq!(growing.backlog, [1, 1, 11, 20]);
        assert!(!growing.kept_up());
        // Large, and no larger than before.
        let steady = outcome(0, 1_500);
        assert_eq!(steady.backlog, [11, 15, 15, 14]);
        assert!(steady.kept_up());
    }

    #[test]
    fn who_cancels_an_order_does_not_keep_up() {
        let mut outcome = outcome(4, 0);
        outcome.cancelled = 1;
        assert!(!outcome.kept_up());
    }

    #[test]
    fn who_refuses_an_order_does_not_keep_up() {
        let mut outcome = outcome(4, 0);
        outcome.refused.insert("503".to_owned(), 1);
        assert!(!outcome.kept_up());
    }
}
