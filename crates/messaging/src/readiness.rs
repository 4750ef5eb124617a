//! Whether the service's own bindings are still there.
//!
//! AMQP cannot tell, and `mandatory` cannot either: the log takes every key. So the broker's management API is
//! asked, every few seconds.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use runtime::health::Health;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::broker::Broker;
use crate::topology::{Binding, Topology};

const INTERVAL: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks until the shutdown, and says `bindings` up or down.
///
/// # Errors
/// When `RABBITMQ_MANAGEMENT_URL` is no URL.
pub async fn run(broker: Broker, health: Health, shutdown: CancellationToken) -> anyhow::Result<()> {
    let item = health.item("bindings");
    let base: Url =
        broker.config().management_url.expose_secret().parse().context(
            "RABBITMQ_MANAGEMENT_URL is no URL: give one such as http://order:order@localhost:15672",
        )?;
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    let log = Topology::log();
    let expected = if broker.hears().is_empty() { &log } else { broker.own() };
    loop {
        match missing(&client, &base, broker.vhost(), expected).await {
            Ok(missing) if missing.is_empty() => item.up(),
            Ok(missing) => item.down(format!("missing: {}; run `shop topology apply`", missing.join(", "))),
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

async fn missing(
    client: &reqwest::Client,
    base: &Url,
    vhost: &str,
    expected: &Topology,
) -> Result<Vec<String>, reqwest::Error> {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear().extend(["api", "bindings", vhost]);
    }
    let present: BTreeSet<Binding> = client.get(url).send().await?.error_for_status()?.json().await?;
    let missing = expected.bindings.iter().filter(|binding| !present.contains(*binding));
    Ok(missing.map(ToString::to_string).collect())
}
