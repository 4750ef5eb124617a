//! Two services of a system of their own: [`greeter`] publishes an event for every greeting, [`listener`] counts them.

use amqp::topology::Topology;
use messaging::{BrokerConfig, HostConfig};
use runtime::config::ProcessConfig;
use secrecy::ExposeSecret;
use uuid::Uuid;

pub mod greeter;
pub mod listener;

contracts::messages! {
    pub Event, EventType;

    /// Somebody was greeted.
    Greeted = "greeting.sent" version 1, owner "greeter", subject greeting_id {
        greeting_id: Uuid,
        name: String,
    }
}

/// A service of the example
#[derive(Debug, clap::Parser)]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,
}

/// Declares every queue, so that none misses an event that is published before its service has run.
async fn declare_topology(config: &BrokerConfig) -> anyhow::Result<Topology> {
    let topology = Topology::whole(&[("listener", &[EventType::Greeted.name()])]);
    amqp::apply_topology(config.amqp_url.expose_secret(), &topology).await?;
    Ok(topology)
}
