//! What no test can do to real servers: other versions, a lack of memory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use system::Service;

use super::{postgres_is_new_enough, rabbitmq_has_room, rabbitmq_is_new_enough};
use crate::Seen;
use crate::Verdict::{self, Fine, Hint, Wrong};
use crate::broker::Broker;
use crate::clock::Offset;
use crate::databases::{Database, Facts};

#[test]
fn a_server_that_is_too_old_is_told() {
    let postgres = |version| postgres_is_new_enough(&seen(version, "4.0.5", node(5000, 500)));
    assert_eq!(postgres(150_018), Fine("15".to_owned()));
    assert_eq!(postgres(140_019), Wrong("it is 14: install 15 or newer".to_owned()));
    let rabbitmq = |version| rabbitmq_is_new_enough(&seen(150_018, version, node(5000, 500)));
    for version in ["3.10.8", "3.11.0-rc.1", "4.0.5"] {
        assert_eq!(rabbitmq(version), Fine(version.to_owned()));
    }
    assert_eq!(rabbitmq("3.9.29"), Wrong("it is 3.9.29: install 3.10 or newer".to_owned()));
}

#[test]
fn a_broker_has_room_or_says_how_little() {
    let check = |node: Value, says: fn(&Verdict) -> bool| {
        let verdict = rabbitmq_has_room(&seen(150_018, "4.0.5", node.clone()));
        assert!(says(&verdict), "{node}: {verdict:?}");
    };
    check(node(5000, 500), |verdict| matches!(verdict, Fine(_)));
    check(node(900, 500), |verdict| matches!(verdict, Hint(_)));
    check(node(500, 500), |verdict| matches!(verdict, Wrong(_)));
    let with = |alarm: &str| {
        let mut node = node(5000, 500);
        node[alarm] = json!(true);
        node
    };
    check(with("disk_free_alarm"), |verdict| matches!(verdict, Wrong(_)));
    check(with("mem_alarm"), |verdict| matches!(verdict, Wrong(says) if says.contains("out of memory")));
    let silent = json!({"name": "rabbit@shop", "running": false});
    check(silent, |verdict| matches!(verdict, Wrong(says) if says.contains("does not run")));
}

/// A node with so much disk, and that limit, in MB.
fn node(disk_free: u64, limit: u64) -> Value {
    const MB: u64 = 1_000_000;
    json!({"name": "rabbit@shop", "disk_free": disk_free * MB, "disk_free_limit": limit * MB})
}

fn seen(postgres: i32, rabbitmq: &str, node: Value) -> Seen {
    let facts = Facts { version: postgres, owner: "order".to_owned(), open_to: vec![], migrated: true };
    let now = chrono::DateTime::UNIX_EPOCH;
    let database = Database { facts, backlog: None, offset: Offset::of(now, now, now) };
    Seen {
        vhost: "shop".to_owned(),
        topology: amqp::topology::Topology::default(),
        services: vec![],
        databases: BTreeMap::from([(Service::Order, Ok(database))]),
        broker: Ok(Broker {
            version: rabbitmq.to_owned(),
            offset: None,
            nodes: vec![serde_json::from_value(node).expect("a node")],
            exchanges: BTreeMap::new(),
            queues: BTreeMap::new(),
            bindings: BTreeSet::new(),
            consumed: BTreeSet::new(),
            rights: BTreeMap::new(),
        }),
        depths: Ok(BTreeMap::new()),
    }
}
