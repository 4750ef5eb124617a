//! Exchanges, queues and bindings, beside those that are declared.

use std::collections::BTreeMap;

use amqp::topology::{Argument, MARKER_KIND, Queue};
use serde_json::{Map, Value};

use super::super::broker::Broker;
use super::super::{Seen, Verdict};
use super::judge::{broker, judge, skipping};

pub(super) fn queues(seen: &Seen) -> Verdict {
    broker(seen, |broker| {
        let mut faults = exchange_faults(seen, broker);
        let other = faulty_queues(seen);
        // A queue cannot be changed: it is only made once it is gone.
        let missing_only = faults.is_empty() && other.keys().all(|name| !broker.queues.contains_key(name));
        faults.extend(other.into_values());
        let advice = match missing_only {
            true => "run `sagactl topology apply`",
            false => "see \"Changes of the topology\" in docs/operations.md",
        };
        judge(faults, advice, format!("{} queues", seen.topology.queues.len()))
    })
}

pub(super) fn bindings(seen: &Seen) -> Verdict {
    broker(seen, |broker| {
        let other = faulty_queues(seen);
        let missing = seen.topology.bindings.iter().filter(|binding| !broker.bindings.contains(*binding));
        let (skipped, missing): (Vec<_>, Vec<_>) =
            missing.partition(|binding| other.contains_key(&binding.queue));
        let skipped: Vec<_> =
            skipped.iter().map(|binding| format!("{} is not as declared", binding.queue)).collect();
        let faults = missing.iter().map(|binding| format!("missing is {binding}"));
        let fine = format!("{} bindings", seen.topology.bindings.len());
        skipping(&skipped, judge(faults, "run `sagactl topology apply`", fine))
    })
}

/// What is wrong with each queue that is not as declared; nothing when the broker does not say.
pub(super) fn faulty_queues(seen: &Seen) -> BTreeMap<String, String> {
    let Ok(broker) = &seen.broker else { return BTreeMap::new() };
    let fault = |queue: &Queue| {
        let fault = match broker.queues.get(&queue.name) {
            None => Some(format!("{} is missing", queue.name)),
            Some(found) => {
                difference(&arguments(queue), found).map(|fault| format!("{} has {fault}", queue.name))
            }
        };
        Some((queue.name.clone(), fault?))
    };
    seen.topology.queues.iter().filter_map(fault).collect()
}

fn exchange_faults(seen: &Seen, broker: &Broker) -> Vec<String> {
    let fault = |(name, kind): (&str, &str)| match broker.exchanges.get(name) {
        None => Some(format!("the exchange {name} is missing")),
        Some(found) if found != kind => Some(format!("the exchange {name} is {found}, not {kind}")),
        Some(_) => None,
    };
    let marker = seen.topology.marker.iter().map(|name| (name.as_str(), MARKER_KIND));
    let exchanges = seen.topology.exchanges.iter().map(|exchange| (exchange.name.as_str(), exchange.kind));
    exchanges.chain(marker).filter_map(fault).collect()
}

fn arguments(queue: &Queue) -> Map<String, Value> {
    let arguments = queue.arguments.iter().map(|(name, value)| match value {
        Argument::Text(text) => ((*name).to_owned(), text.as_str().into()),
        Argument::Number(number) => ((*name).to_owned(), (*number).into()),
    });
    arguments.collect()
}

/// How the arguments that were found differ from those that are wanted, in words.
fn difference(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
    let differing = wanted.iter().filter(|(name, value)| found.get(*name) != Some(*value));
    let differing = differing.map(|(name, value)| match found.get(name) {
        Some(found) => format!("{name}={found}, not {value}"),
        None => format!("no {name}={value}"),
    });
    let added = found.iter().filter(|(name, _)| !wanted.contains_key(*name));
    let differences: Vec<_> =
        differing.chain(added.map(|(name, value)| format!("{name}={value}, not none"))).collect();
    (!differences.is_empty()).then(|| differences.join(" and "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_differ_by_value_by_absence_and_by_presence() {
        let check = |found: Value, difference_is: Option<&str>| {
            let wanted = json!({"x-queue-type": "quorum", "x-delivery-limit": 50});
            let (Value::Object(wanted), Value::Object(found)) = (wanted, found) else { panic!("objects") };
            assert_eq!(difference(&wanted, &found).as_deref(), difference_is);
        };
        check(json!({"x-queue-type": "quorum", "x-delivery-limit": 50}), None);
        check(json!({"x-queue-type": "quorum", "x-delivery-limit": 20}), Some("x-delivery-limit=20, not 50"));
        check(
            json!({"x-queue-type": "quorum", "x-expires": 9}),
            Some("no x-delivery-limit=50 and x-expires=9, not none"),
        );
    }
}
