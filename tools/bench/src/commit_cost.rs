//! What a commit costs by the size of its batch.

use serde::Serialize;

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

impl Default for CommitCost {
    fn default() -> Self {
        Self { fixed_ms: f64::NAN, per_item_ms: f64::NAN }
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
}
