//! The configuration: environment variables, read once.

use messaging::HostConfig;
use runtime::config::ProcessConfig;

/// Counts orders, revenue and mails, from the log of all events
#[derive(Debug, clap::Parser)]
#[command(name = "analytics", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8085")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,
}
