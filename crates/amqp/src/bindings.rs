//! Which bindings the broker has.
//!
//! AMQP cannot list bindings, and `mandatory` does not detect a missing one, since the event stream takes every routing
//! key. So the broker's management API is asked: for the stream's binding before events are published, and for the
//! bindings of the service's own queues every few seconds.

use std::{collections::BTreeSet, time::Duration};

use runtime::health::HealthItem;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::config::BrokerConfig;
use crate::error::BrokerError;
use crate::topology::{Binding, Topology};

const INTERVAL: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the management API that lists the bindings of one vhost.
#[derive(Debug, Clone)]
pub struct BindingsClient {
    client: reqwest::Client,
    list: Url,
}

impl BindingsClient {
    pub(crate) fn new(config: &BrokerConfig, vhost: &str) -> Result<Self, BrokerError> {
        let invalid = |what: String| {
            let example = "http://order:order@localhost:15672";
            BrokerError::InvalidUrl(format!(
                "RABBITMQ_MANAGEMENT_URL is not valid ({what}): use one such as {example}"
            ))
        };
        let mut list: Url =
            config.management_url.expose_secret().parse().map_err(|_| invalid("no URL".to_owned()))?;
        if let Ok(mut path) = list.path_segments_mut() {
            path.clear().extend(["api", "bindings", vhost]);
        }
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build();
        Ok(Self { client: client.map_err(|error| invalid(error.to_string()))?, list })
    }

    pub(crate) async fn missing(&self, wanted: &Topology) -> Result<Vec<String>, reqwest::Error> {
        let answer = self.client.get(self.list.clone()).send().await?.error_for_status()?;
        let present: BTreeSet<Binding> = answer.json().await?;
        let missing = wanted.bindings.iter().filter(|binding| !present.contains(*binding));
        Ok(missing.map(ToString::to_string).collect())
    }
}

/// Checks until the shutdown that the broker has the bindings of the topology, and tells `item`.
pub async fn watch(client: BindingsClient, wanted: Topology, item: HealthItem, shutdown: CancellationToken) {
    loop {
        match client.missing(&wanted).await {
            Ok(missing) if missing.is_empty() => item.up(),
            Ok(missing) => {
                item.down(format!("missing: {}; run `sagactl topology apply`", missing.join(", ")));
            }
            // What was seen last still holds: a management API that is overloaded does not stop any event.
            Err(error) if item.is_up() => tracing::warn!(%error, "the bindings could not be checked"),
            Err(error) => item.down(format!("the broker's management API does not answer: {error}")),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}
