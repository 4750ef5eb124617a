//! Queues seen from outside: how many messages are ready, and which. All of them stay where they are.

use std::collections::{BTreeMap, BTreeSet};

use crate::connection::{close, connect, look_at};
use crate::error::BrokerError;
use crate::held_queue::HeldQueue;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    pub messages: u32,
    /// Consumers; the broker reports 0 for a stream.
    pub consumers: u32,
}

/// The sizes of the queues as of now: the management API lags by seconds. Needs no permission.
pub async fn depths(amqp_url: &str, queues: &[String]) -> Result<BTreeMap<String, Depth>, BrokerError> {
    let connection = connect(amqp_url, "inspection").await?;
    let channel = connection.create_channel().await?;
    let mut depths = BTreeMap::new();
    for queue in queues {
        let declared = look_at(&channel, queue).await?;
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
    held.release(messages.len()).await?;
    let named = (1..)
        .zip(&messages)
        .map(|(number, message)| message.id().unwrap_or_else(|| format!("without an id, number {number}")));
    Ok(named.collect())
}
