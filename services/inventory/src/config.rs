//! The configuration of the inventory service.

use clap::{ArgAction, Parser};
use messaging::HostConfig;
use runtime::config::ProcessConfig;

/// Keeps products and stock, and sets stock aside for orders.
#[derive(Debug, Clone, Parser)]
#[command(name = "inventory", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8083")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,

    /// Whether the first start lists a demo catalogue of a dozen products: true or false
    #[arg(long, env = "DEMO_CATALOGUE", default_value_t = true, action = ArgAction::Set)]
    pub demo_catalogue: bool,
}
