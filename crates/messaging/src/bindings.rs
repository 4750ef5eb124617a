//! Which bindings the broker has.
//!
//! AMQP cannot tell, and `mandatory` cannot either: the log takes every key. So the broker's management API is asked:
//! for the log's binding before events are published, and for the service's own every few seconds.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use runtime::health::Health;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::broker::Broker;
use crate::config::BrokerConfig;
use crate::topology::{Binding, Topology};

const INTERVAL: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The bindings of one vhost, as the management API lists them.
#[derive(Debug)]
pub(crate) struct Bindings {
    client: reqwest::Client,
    list: Url,
}

impl Bindings {
    /// # Errors
    /// When `RABBITMQ_MANAGEMENT_URL` is no URL.
    pub(crate) fn new(config: &BrokerConfig, vhost: &str) -> anyhow::Result<Self> {
        let mut list: Url = config.management_url.expose_secret().parse().context(
            "RABBITMQ_MANAGEMENT_URL is no URL: give one such as http://order:order@localhost:15672",
        )?;
        if let Ok(mut path) = list.path_segments_mut() {
            path.clear().extend(["api", "bindings", vhost]);
        }
        Ok(Self { client: reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?, list })
    }

    /// Which of those that the topology wants are not there.
    pub(crate) async fn missing(&self, wanted: &Topology) -> Result<Vec<String>, reqwest::Error> {
        let answer = self.client.get(self.list.clone()).send().await?.error_for_status()?;
        let present: BTreeSet<Binding> = answer.json().await?;
        let missing = wanted.bindings.iter().filter(|binding| !present.contains(*binding));
        Ok(missing.map(ToString::to_string).collect())
    }
}

/// Looks for the service's own until the shutdown, and says `bindings` up or down.
///
/// # Errors
/// None; it goes on after every failure. The signature is that of a task.
pub(crate) async fn watch(broker: Broker, health: Health, shutdown: CancellationToken) -> anyhow::Result<()> {
    let item = health.item("bindings");
    let log = Topology::event_stream();
    let wanted = if broker.subscriptions().is_empty() { &log } else { broker.own() };
    loop {
        match broker.bindings().missing(wanted).await {
            Ok(missing) if missing.is_empty() => item.up(),
            Ok(missing) => {
                item.down(format!("missing: {}; run `sagactl topology apply`", missing.join(", ")))
            }
            // What was seen last still holds: a management API that is busy loses no event.
            Err(error) if item.is_up() => tracing::warn!(%error, "the bindings could not be looked at"),
            Err(error) => item.down(format!("the broker's management API does not answer: {error}")),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
