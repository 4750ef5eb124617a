//! The configuration of the order service.

use std::time::Duration;

use clap::{Args, Parser};
use messaging::HostConfig;
use runtime::config::{ProcessConfig, positive_duration};

/// Takes orders, and confirms, completes or cancels them by the events of the other services.
#[derive(Debug, Clone, Parser)]
#[command(name = "order", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8081")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,

    /// The time that an order waits for stock and money before it is cancelled, 1ms or more, e.g. 30s
    #[arg(long, env = "ORDER_DEADLINE", default_value = "30s", value_parser = positive_duration)]
    pub order_deadline: Duration,

    #[command(flatten)]
    pub limits: Limits,
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
