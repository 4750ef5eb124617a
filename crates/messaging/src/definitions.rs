//! Who may do what on the broker, and what must be there at its boot: `deploy/rabbitmq/definitions.json`.
//!
//! Queues and bindings are not in it: a stream with its binding in the definitions kept RabbitMQ 4.0 from booting.
//! [`topology`] declares them over AMQP.

use base64::{Engine, prelude::BASE64_STANDARD};
use contracts::{EventType, ServiceName};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::RetryDelays;
use crate::topology::{self, EVENTS_EXCHANGE, Topology};

/// The user that applies the topology.
pub const TOPOLOGY_USER: &str = "topology";
/// The user of people and of the tests.
pub const ADMIN_USER: &str = "admin";
/// The user of the auditor: it sees how much waits, and which messages are dead.
pub const AUDITOR_USER: &str = "auditor";
/// The user of people who work on dead letters: it reads them, puts them back, and can do nothing else.
pub const OPERATOR_USER: &str = "operator";

/// A service and what it hears from its queue; nothing for one that reads the log.
pub type Subscriptions<'a> = (ServiceName, &'a [EventType]);

/// The definitions of one vhost: users (each with its own name as its password: a person who deploys this gives
/// them others), permissions and exchanges.
#[must_use]
pub fn definitions(vhost: &str, hearers: &[Subscriptions<'_>]) -> Value {
    let queued: Vec<_> =
        hearers.iter().copied().filter(|(_, subscriptions)| !subscriptions.is_empty()).collect();
    let dead_letters = of_each(&queued, "dead-letters");
    let mut users = vec![
        user(ADMIN_USER, &["administrator"]),
        user(TOPOLOGY_USER, &[]),
        user(AUDITOR_USER, &[]),
        user(OPERATOR_USER, &[]),
    ];
    let mut permissions = vec![
        permission(ADMIN_USER, vhost, ".*", ".*", ".*"),
        permission(TOPOLOGY_USER, vhost, ".*", ".*", ".*"),
        permission(AUDITOR_USER, vhost, "^$", "^$", &dead_letters),
        permission(OPERATOR_USER, vhost, "^$", &of_each(&queued, "own"), &dead_letters),
    ];
    let mut topic_permissions = Vec::new();
    for (service, subscriptions) in hearers {
        // `management` lets the service ask for its own bindings, and for nothing that AMQP would not show it.
        users.push(user(service.as_str(), &["management"]));
        if subscriptions.is_empty() {
            let log = format!("^{}$", topology::EVENT_STREAM.replace('.', "\\."));
            permissions.push(permission(service.as_str(), vhost, "^$", "^$", &log));
            continue;
        }
        let own = format!(r"^{service}\.");
        let own_and_events = format!(r"^(domain\.events|{service}\..*)$");
        permissions.push(permission(service.as_str(), vhost, &own, &own_and_events, &own_and_events));
        let announces = EventType::ALL.iter().copied().filter(|event| event.owner() == *service);
        topic_permissions.push(json!({
            "user": service, "vhost": vhost, "exchange": EVENTS_EXCHANGE,
            "write": one_of(announces), "read": one_of(subscriptions.iter().copied()),
        }));
    }
    json!({
        "vhosts": [{ "name": vhost }],
        "users": users,
        "permissions": permissions,
        "topic_permissions": topic_permissions,
        "exchanges": exchanges(vhost, &queued),
    })
}

fn exchanges(vhost: &str, queued: &[Subscriptions<'_>]) -> Vec<Value> {
    let exchanges = Topology::whole(queued, &RetryDelays::default()).exchanges.into_iter();
    exchanges
        .map(|exchange| {
            json!({
                "name": exchange.name, "vhost": vhost, "type": exchange.kind,
                "durable": true, "auto_delete": false, "internal": false, "arguments": {},
            })
        })
        .collect()
}

fn user(name: &str, tags: &[&str]) -> Value {
    json!({
        "name": name,
        "password_hash": password_hash(name),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
        "limits": {},
    })
}

fn permission(user: &str, vhost: &str, configure: &str, write: &str, read: &str) -> Value {
    json!({ "user": user, "vhost": vhost, "configure": configure, "write": write, "read": read })
}

/// What each of the services has under that name.
fn of_each(hearers: &[Subscriptions<'_>], name: &str) -> String {
    let services: Vec<_> = hearers.iter().map(|(service, _)| service.as_str()).collect();
    format!(r"^({})\.{name}$", services.join("|"))
}

fn one_of(events: impl Iterator<Item = EventType>) -> String {
    let names: Vec<_> = events.map(|event| event.name().replace('.', "\\.")).collect();
    format!("^({})$", names.join("|"))
}

/// RabbitMQ's salted hash: base64 of four bytes of salt and of SHA-256 over salt and password. The salt is made
/// from the name, so that generating the file again changes nothing.
fn password_hash(name: &str) -> String {
    let salt = &Sha256::digest(name.as_bytes())[..4];
    let hash = Sha256::new().chain_update(salt).chain_update(name.as_bytes()).finalize();
    BASE64_STANDARD.encode([salt, &hash[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_write_what_it_owns_and_read_what_it_subscriptions() {
        let subscriptions = [EventType::OrderPlaced, EventType::OrderCancelled];
        let made = definitions(
            "shop",
            &[(ServiceName::new("inventory"), &subscriptions), (ServiceName::new("analytics"), &[])],
        );
        let rights = &made["topic_permissions"][0];
        assert_eq!(rights["read"], r"^(order\.placed|order\.cancelled)$");
        assert_eq!(
            rights["write"],
            r"^(product\.listed|stock\.reserved|stock\.rejected|stock\.committed|stock\.released)$"
        );
        let analytics = made["permissions"].as_array().and_then(|all| all.last()).expect("a permission");
        assert_eq!(analytics["configure"], "^$");
        assert_eq!(analytics["write"], "^$");
        assert_eq!(analytics["read"], r"^domain-events\.log$");
    }

    #[test]
    fn an_operator_may_read_dead_letters_and_put_them_back() {
        let subscriptions = [EventType::OrderPlaced];
        let hearers: [Subscriptions<'_>; 3] = [
            (ServiceName::new("payment"), &subscriptions),
            (ServiceName::new("inventory"), &subscriptions),
            (ServiceName::new("analytics"), &[]),
        ];
        let made = definitions("shop", &hearers);
        let permissions = made["permissions"].as_array().expect("permissions");
        let operator =
            permissions.iter().find(|rights| rights["user"] == OPERATOR_USER).expect("a permission");
        assert_eq!(operator["configure"], "^$");
        assert_eq!(operator["write"], r"^(payment|inventory)\.own$");
        assert_eq!(operator["read"], r"^(payment|inventory)\.dead-letters$");
    }
}
