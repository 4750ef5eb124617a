//! The outcome of a load: latencies, and whether the system kept up.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use loadgen::{LoadResult, percentile};

/// A bounded backlog is never larger than the orders of this time,
const BACKLOG_SECONDS: f64 = 2.0;
/// and grows by no more than the orders of this time, by which it varies anyway,
const GROWTH_SECONDS: f64 = 1.0;
/// or by this part of the orders meanwhile.
const GROWTH_PART: f64 = 0.1;

/// The steps of an order, from when it was due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Journey {
    pub(super) due: DateTime<Utc>,
    pub(super) confirmed: Option<DateTime<Utc>>,
    pub(super) ended: DateTime<Utc>,
    pub(super) cancelled: bool,
    /// When it had ended, its mail was sent, and analytics had counted it.
    pub(super) whole: DateTime<Utc>,
}

/// Latencies in ms, from when the order was due (no coordinated omission).
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

#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    /// Orders placed a second.
    pub(super) rate: f64,
    pub(super) orders: usize,
    /// Answers other than 202.
    pub(super) refused: BTreeMap<String, u64>,
    /// Orders that were cancelled, which only a deadline can do here.
    pub(super) cancelled: usize,
    pub(super) confirmed: Latency,
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

    /// Whether the system kept up: it accepted every order, cancelled none, and the backlog of the second half was bounded.
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

    /// 10 a second for 4 s; from a given second on each takes `slow_ms`.
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
    fn a_backlog_above_two_seconds_is_not_kept_up() {
        let slow = outcome(0, 60_000);
        assert_eq!(slow.backlog, [11, 21, 31, 40]);
        assert!(!slow.kept_up());
    }

    #[test]
    fn a_growing_backlog_is_not_kept_up_even_briefly() {
        let growing = outcome(2, 60_000);
        assert_eq!(growing.backlog, [1, 1, 11, 20]);
        assert!(!growing.kept_up());
        // Large, and no larger than before.
        let steady = outcome(0, 1_500);
        assert_eq!(steady.backlog, [11, 15, 15, 14]);
        assert!(steady.kept_up());
    }

    #[test]
    fn a_cancelled_order_means_not_kept_up() {
        let mut outcome = outcome(4, 0);
        outcome.cancelled = 1;
        assert!(!outcome.kept_up());
    }

    #[test]
    fn a_refused_order_means_not_kept_up() {
        let mut outcome = outcome(4, 0);
        outcome.refused.insert("503".to_owned(), 1);
        assert!(!outcome.kept_up());
    }
}
