//! The table of services, and what follows from it for the whole system. Nothing else lists the services: what needs
//! a list derives it from [`Service::ALL`], and what cannot (a compose file, a script) is generated.

mod service;
mod table;

pub use service::{Dependency, Outside, Program, Reads, Service, UnknownService, programs};

use contracts::EventType;
use messaging::config::RetryDelays;
use messaging::definitions::Subscriptions;
use messaging::topology::Topology;

/// The virtual host of the system on the broker.
pub const VHOST: &str = "shop";

/// Every service on the broker with what its queue is bound to: nothing, for one that reads the event stream.
#[must_use]
pub fn subscriptions() -> Vec<Subscriptions<'static>> {
    let on_broker = Service::ALL.iter().filter(|service| service.needs().contains(&Dependency::Broker));
    on_broker.map(|service| ((*service).into(), service.subscriptions())).collect()
}

/// The topology of the whole system.
#[must_use]
pub fn topology(delays: &RetryDelays) -> Topology {
    let queued: Vec<_> =
        Service::with_queue().map(|service| (service.into(), service.subscriptions())).collect();
    Topology::whole(&queued, delays)
}

/// Declares the topology of the whole system, with the usual delays.
///
/// # Errors
/// [`BrokerError`](messaging::broker::BrokerError), or a URL that is not valid.
pub async fn apply_topology(amqp_url: &str) -> anyhow::Result<()> {
    messaging::broker::apply_topology(amqp_url, &topology(&RetryDelays::default())).await
}

/// The services that consume an event from their queues.
pub fn subscribers_of(event: EventType) -> impl Iterator<Item = Service> {
    Service::with_queue().filter(move |service| service.subscriptions().contains(&event))
}

/// Events that no service consumes although they are not kept for the record alone.
#[must_use]
pub fn unconsumed() -> Vec<EventType> {
    let mut all = EventType::ALL.to_vec();
    all.retain(|event| !event.row().record_only && subscribers_of(*event).next().is_none());
    all
}
