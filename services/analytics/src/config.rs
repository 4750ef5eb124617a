//! The configuration: environment variables, read once.

use messaging::BrokerConfig;
use runtime::config::{DatabaseConfig, HttpConfig, TelemetryConfig};

/// Counts orders, revenue and mails, from the log of all events
#[derive(Debug, clap::Parser)]
#[command(name = "analytics", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8085")))]
pub struct Config {
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub database: DatabaseConfig,
    #[command(flatten)]
    pub broker: BrokerConfig,
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}
