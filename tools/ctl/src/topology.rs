//! `sagactl topology`: what the broker must hold before any event is published.

use std::process::ExitCode;

use amqp::apply_topology;
use anyhow::Result;
use devstack::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    /// Declare every exchange, queue and binding; what is there already stays as it is
    Apply {
        /// The broker, with the user that may declare everything
        #[arg(
            long,
            env = "AMQP_URL",
            hide_env_values = true,
            default_value = "amqp://topology:topology@127.0.0.1:8672/shop"
        )]
        amqp_url: String,
    },
}

pub(crate) async fn run(Action::Apply { amqp_url }: Action) -> Result<ExitCode> {
    let topology = system::topology();
    apply_topology(&amqp_url, &topology).await?;
    print(&format!(
        "applied: {} exchanges, {} queues, {} bindings",
        topology.exchanges.len(),
        topology.queues.len(),
        topology.bindings.len()
    ));
    Ok(ExitCode::SUCCESS)
}
