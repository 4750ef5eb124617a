//! What the broker's management API reports.

use std::collections::{BTreeMap, BTreeSet};

use amqp::topology::Binding;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Asked;
use super::clock::Offset;
use super::http::{self, Answer};

/// A broker and one vhost on it.
#[derive(Debug)]
pub(super) struct Broker {
    /// For example 3.10.8.
    pub(super) version: String,
    pub(super) offset: Option<Offset>,
    pub(super) nodes: Vec<ClusterNode>,
    /// Type of each exchange.
    pub(super) exchanges: BTreeMap<String, String>,
    /// Arguments of each queue.
    pub(super) queues: BTreeMap<String, Map<String, Value>>,
    pub(super) bindings: BTreeSet<Binding>,
    /// Queues with a consumer, as of some seconds ago.
    pub(super) consumed: BTreeSet<String>,
    /// `users`, `permissions` and `topic_permissions`, as definitions have them.
    pub(super) rights: BTreeMap<&'static str, Vec<Value>>,
}

/// A node of the broker, sizes in bytes. One that does not run, or has just started, reports none.
#[derive(Debug, Deserialize)]
pub(super) struct ClusterNode {
    pub(super) name: String,
    pub(super) disk_free: Option<u64>,
    pub(super) disk_free_limit: Option<u64>,
    #[serde(default)]
    pub(super) disk_free_alarm: bool,
    #[serde(default)]
    pub(super) mem_alarm: bool,
}

/// An exchange or a queue.
#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
struct Consumer {
    queue: Named,
}

pub(super) async fn read(client: &Client, base: &Url, vhost: &str) -> Asked<Broker> {
    let overview = ask(client, base, &["overview"]).await?;
    let exchanges: Vec<Named> = list(client, base, &["exchanges", vhost]).await?;
    let queues: Vec<Named> = list(client, base, &["queues", vhost]).await?;
    let consumers: Vec<Consumer> = list(client, base, &["consumers", vhost]).await?;
    Ok(Broker {
        version: overview.body["rabbitmq_version"].as_str().unwrap_or("unknown").to_owned(),
        offset: overview.offset,
        nodes: list(client, base, &["nodes"]).await?,
        exchanges: exchanges.into_iter().map(|exchange| (exchange.name, exchange.kind)).collect(),
        queues: queues.into_iter().map(|queue| (queue.name, queue.arguments)).collect(),
        bindings: list(client, base, &["bindings", vhost]).await?.into_iter().collect(),
        consumed: consumers.into_iter().map(|consumer| consumer.queue.name).collect(),
        rights: BTreeMap::from([
            ("users", list(client, base, &["users"]).await?),
            ("permissions", list(client, base, &["vhosts", vhost, "permissions"]).await?),
            ("topic_permissions", list(client, base, &["vhosts", vhost, "topic-permissions"]).await?),
        ]),
    })
}

async fn list<T: DeserializeOwned>(client: &Client, base: &Url, path: &[&str]) -> Asked<Vec<T>> {
    let answer = ask(client, base, path).await?;
    serde_json::from_value(answer.body).map_err(|error| format!("{} is not a list: {error}", path.join(" ")))
}

async fn ask(client: &Client, base: &Url, path: &[&str]) -> Asked<Answer> {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().push("api").extend(path);
    }
    let answer = http::get(client, url).await?;
    match answer.status {
        StatusCode::UNAUTHORIZED => Err("unknown user or wrong password".to_owned()),
        status if status.is_success() => Ok(answer),
        status => Err(format!("it answers {status} to {}", path.join(" "))),
    }
}
