//! A queue that is looked at now and then, on the connection of a [receiver](crate::Receiver).

use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions},
};

use crate::connection::within_setup_limit;
use crate::error::BrokerError;
use crate::message::RawMessage;

/// A queue on a channel of its own. When the channel ends, the broker requeues every message that was not removed.
#[derive(Debug)]
pub struct PolledQueue {
    channel: Channel,
    queue: String,
}

impl PolledQueue {
    pub(crate) fn new(channel: Channel, queue: String) -> Self {
        Self { channel, queue }
    }

    /// Takes up to so many messages that are there, without acknowledging them.
    pub async fn take(&self, limit: u16) -> Result<Vec<RawMessage>, BrokerError> {
        within_setup_limit(async {
            let mut messages = Vec::new();
            while messages.len() < limit.into() {
                let (queue, options) = (self.queue.as_str().into(), BasicGetOptions::default());
                let Some(message) = self.channel.basic_get(queue, options).await? else { break };
                messages.push(RawMessage(message.delivery));
            }
            Ok(messages)
        })
        .await
    }

    /// Removes every message that was taken, up to the last one of these.
    pub async fn remove(&self, messages: &[RawMessage]) -> Result<(), BrokerError> {
        let Some(last) = messages.iter().map(RawMessage::delivery_tag).max() else { return Ok(()) };
        Ok(self.channel.basic_ack(last, BasicAckOptions { multiple: true }).await?)
    }
}
