//! The documents that follow from the tables of events and services. In `docs/operations.md` it is one table between two
//! markers, and the prose around it is kept.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use amqp::Topology;
use amqp::topology::{Argument, MARKER_KIND, Queue};
use anyhow::{Context, Result};
use contracts::EventType;
use system::{Dependency, Program, Reads, Service, programs, subscribers_of};

const OPERATIONS: &str = "docs/operations.md";
const BEGIN: &str = "<!-- generated: services -->\n";
const END: &str = "<!-- end -->\n";

/// `docs/generated/choreography.md`.
pub(super) fn choreography() -> String {
    let events = EventType::ALL.iter().map(|event| {
        let mut consumers: Vec<_> = subscribers_of(*event).map(Service::as_str).collect();
        if event.row().record_only {
            consumers.push("(for the record)");
        }
        [code(event.row().versioned_name), event.owner().to_string(), consumers.join(", ")]
    });
    let readers = Service::ALL.iter().filter(|service| service.reads() == Reads::EventStream);
    let readers = readers.map(|reader| format!("\n{reader} reads every event from the event stream.\n"));
    format!(
        "# Choreography\n\nWritten by `sagactl generate` from the tables in `crates/contracts` and `crates/system`.\n\n{}{}",
        table(["event", "published by", "consumed by"], events),
        readers.collect::<String>()
    )
}

/// `docs/generated/topology.md`.
pub(super) fn topology() -> String {
    let Topology { exchanges, queues, bindings, marker } = system::topology();
    let exchanges = exchanges.iter().map(|exchange| [code(&exchange.name), exchange.kind.to_owned()]);
    let marker = marker.iter().map(|name| [code(name), format!("{MARKER_KIND}: all of this exists")]);
    let exchanges = exchanges.chain(marker);
    let queues = queues.iter().map(|queue| [code(&queue.name), arguments(queue)]);
    let bindings = bindings.iter();
    let bindings = bindings.map(|it| [code(&it.exchange), code(&it.routing_key), code(&it.queue)]);
    format!(
        "# Topology\n\nWritten by `sagactl generate`; declared on the broker by `sagactl topology apply`.\n\n\
         ## Exchanges\n\n{}\n## Queues\n\n{}\n## Bindings\n\n{}",
        table(["exchange", "type"], exchanges),
        table(["queue", "arguments"], queues),
        table(["exchange", "routing key", "queue"], bindings)
    )
}

fn arguments(queue: &Queue) -> String {
    let argument = |(name, value): &(&str, Argument)| match value {
        Argument::Text(text) => format!("`{name}={text}`"),
        Argument::Number(number) => format!("`{name}={number}`"),
    };
    list(queue.arguments.iter().map(argument))
}

/// `docs/operations.md` with its table as it should be.
pub(super) fn operations(root: &Path) -> Result<(PathBuf, String)> {
    let path = root.join(OPERATIONS);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((OPERATIONS.into(), fill(&text).with_context(|| format!("{OPERATIONS} lacks {BEGIN}or {END}"))?))
}

fn fill(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, &services(), END, after].concat())
}

/// One row for each program.
fn services() -> String {
    let rows = programs().map(|program| {
        let Program { name, port, does, .. } = program;
        let (consumes, needs) = match name.parse::<Service>() {
            Ok(service) => (consumes(service), list(service.needs().iter().map(Dependency::to_string))),
            Err(_) => ("-".to_owned(), "-".to_owned()),
        };
        [
            code(name),
            code(format!("0.0.0.0:{port}")),
            code(program.operations_port()),
            does.to_owned(),
            consumes,
            needs,
        ]
    });
    table(["program", "listens on", "health", "does", "consumes", "needs"], rows)
}

fn consumes(service: Service) -> String {
    match service.reads() {
        Reads::Queue(events) => list(events.iter().map(|event| code(event.name()))),
        Reads::EventStream => "all, from the event stream".to_owned(),
        Reads::Nothing => "-".to_owned(),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    Some(items.collect::<Vec<_>>().join(", ")).filter(|list| !list.is_empty()).unwrap_or("-".to_owned())
}

fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: String = rows.map(|cells| format!("| {} |\n", cells.join(" | "))).collect();
    format!("| {} |\n{}|\n{rows}", header.join(" | "), "|---".repeat(N))
}

fn code(text: impl Display) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_the_prose_around_it_kept() {
        let text = "before\n<!-- generated: services -->\nold\n<!-- end -->\nafter\n";
        let filled = fill(text).expect("a block");
        assert!(filled.starts_with("before\n<!-- generated: services -->\n| program |"), "{filled}");
        assert!(filled.ends_with("|\n<!-- end -->\nafter\n") && !filled.contains("old"), "{filled}");
        assert_eq!(fill(&filled).expect("a block"), filled);
    }

    #[test]
    fn a_block_without_a_marker_is_refused() {
        assert!(fill("<!-- generated: services -->\n").is_none());
        assert!(fill("<!-- generated: nobody -->\n<!-- end -->\n").is_none());
    }
}
