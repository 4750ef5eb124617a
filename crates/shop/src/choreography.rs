//! Who announces what and who hears it: the catalogue and every service's `SUBSCRIBES`, put together.

use std::fmt::Write;

use events::{EventType, Service};
use messaging::config::RetryDelays;
use messaging::definitions::{Hearer, TOPOLOGY_USER};
use messaging::topology::{Argument, Topology};
use stack::RabbitMq;

use crate::generate::VHOST;

/// Every service with what it hears from its queue; analytics has none, it reads the log.
pub const HEARERS: &[Hearer<'static>] = &[
    (Service::Order, order::domain::SUBSCRIBES),
    (Service::Payment, payment::domain::SUBSCRIBES),
    (Service::Inventory, inventory::domain::SUBSCRIBES),
    (Service::Notification, notification::domain::SUBSCRIBES),
    (Service::Analytics, &[]),
];

/// The topology of the whole system.
#[must_use]
pub fn topology(delays: &RetryDelays) -> Topology {
    let queued: Vec<_> = HEARERS.iter().copied().filter(|(_, hears)| !hears.is_empty()).collect();
    Topology::whole(&queued, delays)
}

/// Declares the topology of the whole system, with the usual delays, on a broker of this machine.
///
/// # Errors
/// [`BrokerError`](messaging::broker::BrokerError).
pub async fn apply_topology(rabbitmq: &RabbitMq) -> anyhow::Result<()> {
    let url = rabbitmq.user_url(TOPOLOGY_USER, VHOST);
    messaging::broker::apply_topology(&url, &topology(&RetryDelays::default())).await
}

/// The services that hear an event from their queues.
pub fn hearers_of(event: EventType) -> impl Iterator<Item = Service> {
    HEARERS.iter().filter(move |(_, hears)| hears.contains(&event)).map(|(service, _)| *service)
}

/// Events that nobody hears although they are not kept for the record alone.
#[must_use]
pub fn unheard() -> Vec<EventType> {
    let mut all = EventType::ALL.to_vec();
    all.retain(|event| !event.record_only() && hearers_of(*event).next().is_none());
    all
}

/// `docs/choreography.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Choreography\n\nWritten by `shop generate` from the catalogue in `crates/events` and every service's `SUBSCRIBES`.\n\
         Analytics reads every event from the log.\n\n| event | announced by | heard by |\n|---|---|---|\n",
    );
    for event in EventType::ALL {
        let mut hearers: Vec<_> = hearers_of(*event).map(Service::as_str).collect();
        if event.record_only() {
            hearers.push("(for the record)");
        }
        let _ =
            writeln!(text, "| `{}` | {} | {} |", event.versioned_name(), event.owner(), hearers.join(", "));
    }
    text
}

/// `docs/topology.md`.
#[must_use]
pub fn topology_document() -> String {
    let topology = topology(&RetryDelays::default());
    let mut text = String::from(
        "# Topology\n\nWritten by `shop generate`; declared on the broker by `shop topology apply`.\n\n\
         ## Exchanges\n\n| exchange | type |\n|---|---|\n",
    );
    for exchange in &topology.exchanges {
        let _ = writeln!(text, "| `{}` | {} |", exchange.name, exchange.kind);
    }
    text.push_str("\n## Queues\n\n| queue | arguments |\n|---|---|\n");
    for queue in &topology.queues {
        let arguments: Vec<_> = queue.arguments.iter().map(|(name, value)| argument(name, value)).collect();
        let _ = writeln!(text, "| `{}` | {} |", queue.name, arguments.join(", "));
    }
    text.push_str("\n## Bindings\n\n| exchange | routing key | queue |\n|---|---|---|\n");
    for binding in &topology.bindings {
        let _ =
            writeln!(text, "| `{}` | `{}` | `{}` |", binding.exchange, binding.routing_key, binding.queue);
    }
    text
}

fn argument(name: &str, value: &Argument) -> String {
    match value {
        Argument::Text(text) => format!("`{name}={text}`"),
        Argument::Number(number) => format!("`{name}={number}`"),
    }
}
