//! The table of services, and what follows from it for the whole system. Nothing else lists the services: what needs
//! a list derives it from [`Service::ALL`], and what cannot (a compose file, a script) is generated.

pub mod postgres;
mod service;
mod table;

pub use service::{Dependency, Outside, Program, Reads, Service, UnknownService, programs};

use amqp::permissions::{self, ServicePermissions};
use amqp::{BrokerError, Topology};
use contracts::EventType;
use serde_json::Value;

pub const VHOST: &str = "shop";

/// What the broker must have.
pub fn topology() -> Topology {
    let parts: Vec<_> =
        Service::with_queue().map(|service| (service.as_str(), service.routing_keys())).collect();
    let parts: Vec<_> = parts.iter().map(|(service, keys)| (*service, keys.as_slice())).collect();
    Topology::whole(&parts)
}

/// The definitions of one vhost of the broker: users, permissions and exchanges.
pub fn definitions(vhost: &str) -> Value {
    let on_broker = Service::ALL.iter().filter(|service| service.needs().contains(&Dependency::Broker));
    let services: Vec<_> = on_broker
        .map(|service| {
            let published = EventType::ALL.iter().filter(|event| event.owner().as_str() == service.as_str());
            ServicePermissions {
                name: service.as_str(),
                publishes: published.map(|event| event.name()).collect(),
                consumes: service.routing_keys(),
            }
        })
        .collect();
    permissions::definitions(vhost, &services)
}

/// Declares the topology of the whole system.
pub async fn apply_topology(amqp_url: &str) -> Result<(), BrokerError> {
    amqp::apply_topology(amqp_url, &topology()).await
}

pub fn subscribers_of(event: EventType) -> impl Iterator<Item = Service> {
    Service::with_queue().filter(move |service| service.subscriptions().contains(&event))
}

/// Events that no service consumes although they are not kept for the record alone.
pub fn unconsumed() -> Vec<EventType> {
    let mut all = EventType::ALL.to_vec();
    all.retain(|event| !event.row().record_only && subscribers_of(*event).next().is_none());
    all
}
