//! The configuration of the order service.

use std::{ops::RangeInclusive, time::Duration};

use chrono::{DateTime, Utc};
use clap::{Args, Parser};
use messaging::HostConfig;
use runtime::config::{ProcessConfig, duration};

use crate::domain::Deadlines;

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

    /// The time from placing an order to its cancellation when it is confirmed and its money is not captured, 1ms to
    /// 720h, e.g. 24h
    #[arg(long, env = "CAPTURE_DEADLINE", default_value = "24h", value_parser = duration(DEADLINES))]
    pub capture_deadline: Duration,
}

impl DeadlineConfig {
    /// The deadlines of an order that is placed now. The one of the capture is never before the one of the decision.
    #[must_use]
    pub fn at(&self, placed_at: DateTime<Utc>) -> Deadlines {
        let decision = placed_at + self.order_deadline;
        Deadlines { decision, capture: decision.max(placed_at + self.capture_deadline) }
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
