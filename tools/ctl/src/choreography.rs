//! Documents that are generated from the tables of events and services: choreography and topology.

use std::fmt::Write;

use amqp::RetryDelays;
use amqp::topology::Argument;
use contracts::EventType;
use system::{Reads, Service};
use system::{subscribers_of, topology};

/// `docs/generated/choreography.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# Choreography\n\nWritten by `sagactl generate` from the tables in `crates/contracts` and `crates/system`.\n\n| event | published by | consumed by |\n|---|---|---|\n",
    );
    for event in EventType::ALL {
        let mut consumers: Vec<_> = subscribers_of(*event).map(Service::as_str).collect();
        if event.row().record_only {
            consumers.push("(for the record)");
        }
        let _ =
            writeln!(text, "| `{}` | {} | {} |", event.versioned_name(), event.owner(), consumers.join(", "));
    }
    let readers: Vec<_> =
        Service::ALL.iter().filter(|service| service.reads() == Reads::EventStream).collect();
    for reader in readers {
        let _ = write!(text, "\n{reader} reads every event from the event stream.\n");
    }
    text
}

/// `docs/generated/topology.md`.
#[must_use]
pub fn topology_document() -> String {
    let topology = topology(&RetryDelays::default());
    let mut text = String::from(
        "# Topology\n\nWritten by `sagactl generate`; declared on the broker by `sagactl topology apply`.\n\n\
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
