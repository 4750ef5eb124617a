//! Who may do what on the broker, and what it must have when it starts: `deploy/rabbitmq/definitions.json`.
//!
//! Queues and bindings are not in it: a stream with its binding in the definitions kept RabbitMQ 4.0 from starting.
//! [`topology`](crate::topology) declares them over AMQP.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::topology::{EVENT_STREAM, EVENTS_EXCHANGE, Topology};

pub const TOPOLOGY_USER: &str = "topology";
/// The user of people and of the tests.
pub const ADMIN_USER: &str = "admin";
/// The user of the auditor: it sees how many messages wait, and where the event stream ends.
pub const AUDITOR_USER: &str = "auditor";

#[derive(Debug, Clone)]
pub struct ServicePermissions<'a> {
    pub name: &'a str,
    pub publishes: Vec<&'a str>,
    /// The routing keys that it subscribes to; none for a service that reads the event stream.
    pub consumes: Vec<&'a str>,
}

/// The definitions of one vhost: users (each with its own name as its password: an operator replaces them),
/// permissions and exchanges.
pub fn definitions(vhost: &str, services: &[ServicePermissions<'_>]) -> Value {
    let consumers: Vec<&str> =
        services.iter().filter(|service| !service.consumes.is_empty()).map(|service| service.name).collect();
    let stream = format!("^{}$", EVENT_STREAM.replace('.', "\\."));
    let mut users = vec![user(ADMIN_USER, &["administrator"])];
    users.extend([TOPOLOGY_USER, AUDITOR_USER].map(|name| user(name, &[])));
    let mut permissions = vec![
        permission(ADMIN_USER, vhost, ".*", ".*", ".*"),
        permission(TOPOLOGY_USER, vhost, ".*", ".*", ".*"),
        permission(AUDITOR_USER, vhost, "^$", "^$", &stream),
    ];
    let mut topic_permissions = Vec::new();
    for ServicePermissions { name, publishes, consumes } in services {
        users.push(user(name, &[]));
        if consumes.is_empty() {
            // To write to a queue is to bind it: the reader restores the stream's binding.
            let stream_and_events = format!("{stream}|^domain\\.events$");
            permissions.push(permission(name, vhost, "^$", &stream, &stream_and_events));
            topic_permissions.push(json!({
                "user": name, "vhost": vhost, "exchange": EVENTS_EXCHANGE, "write": "^$", "read": "^#$",
            }));
            continue;
        }
        let own = format!(r"^{name}\.");
        let own_and_events = format!(r"^(domain\.events|{name}\..*)$");
        permissions.push(permission(name, vhost, &own, &own_and_events, &own_and_events));
        topic_permissions.push(json!({
            "user": name, "vhost": vhost, "exchange": EVENTS_EXCHANGE,
            "write": one_of(publishes), "read": one_of(consumes),
        }));
    }
    json!({
        "vhosts": [{ "name": vhost }],
        "users": users,
        "permissions": permissions,
        "topic_permissions": topic_permissions,
        "exchanges": exchanges(vhost, &consumers),
    })
}

fn exchanges(vhost: &str, consumers: &[&str]) -> Vec<Value> {
    let parts: Vec<(&str, &[&str])> = consumers.iter().map(|service| (*service, &[][..])).collect();
    let exchanges = Topology::whole(&parts).exchanges.into_iter();
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

fn one_of(routing_keys: &[&str]) -> String {
    format!("^({})$", routing_keys.join("|").replace('.', "\\."))
}

/// RabbitMQ's salted hash: base64 of four bytes of salt and of SHA-256 over salt and password. The salt is derived
/// from the name, so that generating the file again changes nothing.
fn password_hash(name: &str) -> String {
    let salt = &Sha256::digest(name.as_bytes())[..4];
    let hash = Sha256::new().chain_update(salt).chain_update(name.as_bytes()).finalize();
    BASE64_STANDARD.encode([salt, &hash[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service<'a>(name: &'a str, publishes: &[&'a str], consumes: &[&'a str]) -> ServicePermissions<'a> {
        ServicePermissions { name, publishes: publishes.to_vec(), consumes: consumes.to_vec() }
    }

    #[test]
    fn a_service_writes_what_it_publishes_and_reads_its_subscriptions() {
        let made = definitions(
            "shop",
            &[
                service(
                    "inventory",
                    &["stock.reserved", "stock.rejected"],
                    &["order.placed", "order.cancelled"],
                ),
                service("analytics", &[], &[]),
            ],
        );
        let rights = &made["topic_permissions"][0];
        assert_eq!(rights["read"], r"^(order\.placed|order\.cancelled)$");
        assert_eq!(rights["write"], r"^(stock\.reserved|stock\.rejected)$");
        let analytics = made["permissions"].as_array().and_then(|all| all.last()).expect("a permission");
        assert_eq!(analytics["configure"], "^$");
        assert_eq!(analytics["write"], r"^domain-events\.log$");
        assert_eq!(analytics["read"], r"^domain-events\.log$|^domain\.events$");
        assert_eq!(made["topic_permissions"][1]["read"], "^#$");
    }
}
