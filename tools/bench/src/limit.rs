//! The machine's own limit: how many orders a second it could do if it did only what an order needs, each part as fast
//! as it is alone.
//!
//! `1/L = commits * a + items * b + deliveries / R_queue + requests / R_http + mails / R_smtp`, all per order. A commit
//! of a batch of n costs `a + b * n`; the formula is the sum over all commits of an order.

use serde::Serialize;

use super::calibrate::Calibration;
use super::counters::PerOrder;

/// What a commit costs: `fixed_ms + per_item_ms * n`, for a batch of n.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct CommitCost {
    pub(super) fixed_ms: f64,
    pub(super) per_item_ms: f64,
}

impl CommitCost {
    /// The line through the costs of two batch sizes, from how many commits a second were done with each.
    pub(super) fn fit(small: (f64, f64), large: (f64, f64)) -> Self {
        let cost = |(_, per_second): (f64, f64)| 1000.0 / per_second;
        let per_item_ms = ((cost(large) - cost(small)) / (large.0 - small.0)).max(0.0);
        Self { fixed_ms: (cost(small) - per_item_ms * small.0).max(0.0), per_item_ms }
    }
}

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
    pub(super) fn of(alone: &Calibration, order: &PerOrder) -> Self {
        let commit = alone.commit;
        let commits_ms = order.commits * commit.fixed_ms + order.items() * commit.per_item_ms;
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
    fn the_line_goes_through_both_batch_sizes() {
        // 0.5 ms with one, 1.45 ms with twenty.
        let cost = CommitCost::fit((1.0, 2_000.0), (20.0, 1_000.0 / 1.45));
        near(cost.per_item_ms, 0.05);
        near(cost.fixed_ms, 0.45);
    }

    #[test]
    fn noise_never_makes_a_negative_cost() {
        let cost = CommitCost::fit((1.0, 100.0), (20.0, 200.0));
        near(cost.per_item_ms, 0.0);
        near(cost.fixed_ms, 10.0);
    }

    #[test]
    fn the_limit_is_the_sum_of_what_an_order_needs() {
        let alone = Calibration {
            commit: CommitCost { fixed_ms: 0.2, per_item_ms: 0.05 },
            queue_per_second: 10_000.0,
            http_per_second: 20_000.0,
            smtp_per_second: 5_000.0,
            ..Calibration::default()
        };
        let order = PerOrder {
            commits: 2.0,
            deliveries: 10.0,
            placements: 1.0,
            requests: 3.0,
            calls: 2.0,
            mails: 1.0,
            ..PerOrder::default()
        };
        let limit = Limit::of(&alone, &order);
        near(limit.commits_ms, 0.4 + 14.0 * 0.05);
        near(limit.deliveries_ms, 1.0);
        near(limit.requests_ms, 0.15);
        near(limit.mails_ms, 0.2);
        near(limit.orders_per_second, 1000.0 / 2.45);
    }
}
