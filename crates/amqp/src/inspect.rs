//! Queues seen from outside: how many messages are ready, and which. All of them stay where they are.

use std::collections::{BTreeMap, BTreeSet};

use lapin::{options::QueueDeclareOptions, types::FieldTable};

use crate::connection::{close, connect};
use crate::error::BrokerError;
use crate::held_queue::HeldQueue;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    pub messages: u32,
    /// Consumers; the broker reports 0 for a stream.
    pub consumers: u32,
}

/// The number of messages that are ready in each of the queues. Needs no permission.
///
/// # Errors
/// [`BrokerError`], also when one of the queues does not exist.
pub async fn waiting(amqp_url: &str, queues: &[String]) -> Result<BTreeMap<String, u32>, BrokerError> {
    let depths = depths(amqp_url, queues).await?;
    Ok(depths.into_iter().map(|(queue, depth)| (queue, depth.messages)).collect())
}

/// The sizes of the queues as of now: the management API lags by seconds. Needs no permission.
pub async fn depths(amqp_url: &str, queues: &[String]) -> Result<BTreeMap<String, Depth>, BrokerError> {
    let connection = connect(amqp_url, "inspection").await?;
    let channel = connection.create_channel().await?;
    let mut depths = BTreeMap::new();
    for queue in queues {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await?;
        let depth = Depth { messages: declared.message_count(), consumers: declared.consumer_count() };
        depths.insert(queue.clone(), depth);
    }
    close(&connection).await?;
    Ok(depths)
}

/// The distinct ids of the messages that are ready in a queue; one without an id is named by its place. Needs the
/// permission to read the queue.
pub async fn message_ids(amqp_url: &str, queue: &str) -> Result<BTreeSet<String>, BrokerError> {
    let (held, messages) = HeldQueue::hold(amqp_url, queue.to_owned()).await?;
    let ids = messages.iter().enumerate();
    let ids = ids
        .map(|(place, message)| {
            message.id().unwrap_or_else(|| format!("without an id, number {}", place + 1))
        })
        .collect();
    held.release(messages.len()).await?;
    Ok(ids)
}
