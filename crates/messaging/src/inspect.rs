//! A look at queues from outside: how much waits, and which messages, all left where they are.

use std::collections::{BTreeMap, BTreeSet};

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::broker::{BrokerError, connect, parse_uri};

const PURPOSE: &str = "inspection";

/// What a queue says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that are ready.
    pub messages: u32,
    /// Consumers; of a stream the broker does not tell, and says 0.
    pub consumers: u32,
}

/// How many messages are ready in each of the queues. Needs no rights.
///
/// # Errors
/// [`BrokerError`], also when one of the queues is not there, or a URL that is none.
pub async fn waiting(amqp_url: &str, queues: &[String]) -> anyhow::Result<BTreeMap<String, u32>> {
    let depths = depths(amqp_url, queues).await?;
    Ok(depths.into_iter().map(|(queue, depth)| (queue, depth.messages)).collect())
}

/// What each of the queues says of itself, as of now: the management API lags by seconds. Needs no rights.
///
/// # Errors
/// As for [`waiting`].
pub async fn depths(amqp_url: &str, queues: &[String]) -> anyhow::Result<BTreeMap<String, Depth>> {
    let connection = connect(parse_uri(amqp_url)?, PURPOSE).await?;
    let channel = connection.create_channel().await.map_err(BrokerError::from)?;
    let mut depths = BTreeMap::new();
    for queue in queues {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await;
        let declared = declared.map_err(BrokerError::from)?;
        let depth = Depth { messages: declared.message_count(), consumers: declared.consumer_count() };
        depths.insert(queue.clone(), depth);
    }
    connection.close(200, "done".into()).await.map_err(BrokerError::from)?;
    Ok(depths)
}

/// The vhost that a URL of the broker names.
///
/// # Errors
/// When the URL is none.
pub fn vhost(amqp_url: &str) -> anyhow::Result<String> {
    Ok(parse_uri(amqp_url)?.vhost)
}

/// The distinct ids of the messages that are ready in a queue; one without an id is told by its place. Needs the
/// right to read the queue. The messages are back once the connection is closed.
///
/// # Errors
/// [`BrokerError`], or a URL that is none.
pub async fn message_ids(amqp_url: &str, queue: &str) -> anyhow::Result<BTreeSet<String>> {
    let connection = connect(parse_uri(amqp_url)?, PURPOSE).await?;
    let channel = connection.create_channel().await.map_err(BrokerError::from)?;
    let mut ids = BTreeSet::new();
    let mut place = 0;
    while let Some(message) =
        channel.basic_get(queue.into(), BasicGetOptions::default()).await.map_err(BrokerError::from)?
    {
        place += 1;
        let id = message.properties.message_id().as_ref().map(ToString::to_string);
        ids.insert(id.unwrap_or_else(|| format!("without an id, number {place}")));
    }
    connection.close(200, "done".into()).await.map_err(BrokerError::from)?;
    Ok(ids)
}
