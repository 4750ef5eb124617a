//! The configuration: environment variables, read once.

use messaging::BrokerConfig;
use runtime::config::{DatabaseConfig, HttpConfig, TelemetryConfig};

/// Counts orders, revenue and mails, from the log of all events
#[derive(Debug, clap::Parser)]
#[command(name = "analytics", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8085")))]
pub struct Config {
    /// Where HTTP is served.
    #[command(flatten)]
    pub http: HttpConfig,
    /// This service's own database.
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerConfig,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}
