//! The machine's own limit: how many orders a second it could do if it did only what an order needs, each part as fast
//! as it is alone.
//!
//! `1/L = commits * a + items * b + deliveries / R_queue + requests / R_http + mails / R_smtp`, all per order. A commit
//! of a batch of n costs `a + b * n`; the formula is the sum over all commits of an order.

use serde::Serialize;

use super::calibrate::Calibration;
use super::counters::Counters;

/// What each part adds to an order, in ms of the whole machine.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Limit {
    pub(super) commits_ms: f64,
    pub(super) deliveries_ms: f64,
    pub(super) requests_ms: f64,
    pub(super) mails_ms: f64,
    pub(super) orders_per_second: f64,
}

impl Limit {
    pub(super) fn of(alone: &Calibration, order: &Counters) -> Self {
        let (fixed_ms, per_item_ms) = alone.commit_ms();
        let commits_ms = order.commits * fixed_ms + order.items() * per_item_ms;
        let deliveries_ms = order.deliveries / alone.queue_per_second * 1000.0;
        let requests_ms = order.requests / alone.http_per_second * 1000.0;
        let mails_ms = order.mails / alone.smtp_per_second * 1000.0;
        let sum = commits_ms + deliveries_ms + requests_ms + mails_ms;
        Self { commits_ms, deliveries_ms, requests_ms, mails_ms, orders_per_second: 1000.0 / sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn the_limit_is_the_sum_of_what_an_order_needs() {
        let alone = Calibration {
            commits_of_1_per_second: 1000.0 / 0.25,
            commits_of_20_per_second: 1000.0 / 1.2,
            queue_per_second: 10_000.0,
            http_per_second: 20_000.0,
            smtp_per_second: 5_000.0,
            ..Calibration::default()
        };
        let order = Counters {
            commits: 2.0,
            deliveries: 10.0,
            placements: 1.0,
            requests: 3.0,
            calls: 2.0,
            mails: 1.0,
            ..Counters::default()
        };
        let limit = Limit::of(&alone, &order);
        near(limit.commits_ms, 0.4 + 14.0 * 0.05);
        near(limit.deliveries_ms, 1.0);
        near(limit.requests_ms, 0.15);
        near(limit.mails_ms, 0.2);
        near(limit.orders_per_second, 1000.0 / 2.45);
    }
}
