//! The configuration of the order service.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Parser};
use messaging::HostConfig;
use runtime::config::{ProcessConfig, duration};

use crate::domain::{Deadlines, MessageFlow, Moment};

/// Takes orders, and confirms, completes or cancels them by the events of the other services.
#[derive(Debug, Clone, Parser)]
#[command(name = "order", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8081")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,

    #[command(flatten)]
    pub deadlines: DeadlineConfig,

    #[command(flatten)]
    pub limits: Limits,
}

/// 30 days at most, so that every deadline is a date.
const DEADLINES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(720);

/// How long an order waits before it is cancelled.
#[derive(Debug, Clone, Copy, Args)]
pub struct DeadlineConfig {
    /// The time that an order waits for stock and money before it is cancelled, 1ms to 720h, e.g. 30s
    #[arg(long, env = "ORDER_DEADLINE", default_value = "30s", value_parser = duration(DEADLINES))]
    pub order_deadline: Duration,

    /// The longest time that an order waits for stock and money when outages of our own postpone its deadline, 1ms to 720h
    /// and no less than ORDER_DEADLINE, e.g. 10m
    #[arg(long, env = "ORDER_DEADLINE_MAX", default_value = "10m", value_parser = duration(DEADLINES))]
    pub order_deadline_max: Duration,

    /// The time from placing an order to its cancellation when it is confirmed and its money is not captured, 1ms to
    /// 720h, e.g. 24h
    #[arg(long, env = "CAPTURE_DEADLINE", default_value = "24h", value_parser = duration(DEADLINES))]
    pub capture_deadline: Duration,
}

impl Default for DeadlineConfig {
    /// The defaults of the variables.
    fn default() -> Self {
        Self {
            order_deadline: Duration::from_secs(30),
            order_deadline_max: Duration::from_mins(10),
            capture_deadline: Duration::from_hours(24),
        }
    }
}

impl DeadlineConfig {
    /// # Errors
    /// When the variables contradict each other.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { order_deadline, order_deadline_max, .. } = self;
        ensure!(
            order_deadline_max >= order_deadline,
            "ORDER_DEADLINE_MAX is {order_deadline_max:?} and ORDER_DEADLINE {order_deadline:?}: give a longest time that \
             is not shorter"
        );
        Ok(())
    }

    /// The deadlines of an order that is placed now. The one of the capture is never before the one of the decision.
    #[must_use]
    pub fn at(&self, placed_at: DateTime<Utc>) -> Deadlines {
        let decision = placed_at + self.order_deadline;
        let latest_decision = placed_at + self.order_deadline_max;
        Deadlines { decision, latest_decision, capture: decision.max(placed_at + self.capture_deadline) }
    }

    /// A look at orders, when messages flow as noted.
    #[must_use]
    pub fn moment(&self, now: DateTime<Utc>, flow: MessageFlow) -> Moment {
        Moment::new(now, flow, TimeDelta::from_std(self.order_deadline).unwrap_or(TimeDelta::MAX))
    }
}

/// How much may wait before new orders are answered 503.
#[derive(Debug, Clone, Copy, Args)]
pub struct Limits {
    /// The number of events that may wait to be published before new orders are answered 503, 1 to 10000000
    #[arg(long, env = "MAX_OUTBOX", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub max_outbox: i64,

    /// The number of orders that may be pending before new ones are answered 503, 1 to 10000000
    #[arg(long, env = "MAX_PENDING", default_value_t = 5_000)]
    #[arg(value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub max_pending: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_variables() {
        let parsed = DeadlineParser::try_parse_from(["order"]).expect("every variable has a default");
        let DeadlineConfig { order_deadline, order_deadline_max, capture_deadline } =
            DeadlineConfig::default();
        let of_variables = parsed.deadlines;
        assert_eq!(of_variables.order_deadline, order_deadline);
        assert_eq!(of_variables.order_deadline_max, order_deadline_max);
        assert_eq!(of_variables.capture_deadline, capture_deadline);
    }

    #[derive(Debug, Parser)]
    struct DeadlineParser {
        #[command(flatten)]
        deadlines: DeadlineConfig,
    }

    #[test]
    fn a_longest_deadline_below_the_deadline_is_refused() {
        let config = DeadlineConfig { order_deadline: Duration::from_mins(11), ..DeadlineConfig::default() };
        let error = config.check().expect_err("10m is less than 11m").to_string();
        assert!(error.contains("ORDER_DEADLINE_MAX is 600s and ORDER_DEADLINE 660s"), "{error}");
        let equal = DeadlineConfig { order_deadline_max: config.order_deadline, ..config };
        assert!(equal.check().is_ok());
    }
}
