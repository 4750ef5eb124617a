//! A queue whose messages are all held while a person looks at them. AMQP has no other way to look.

use std::sync::Arc;
use std::time::Duration;

use lapin::{
    Channel, Connection,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions},
};
use tokio::time::{Instant, sleep};

use crate::connection::{close, connect, look_at};
use crate::error::BrokerError;
use crate::message::RawMessage;
use crate::publisher::ConfirmChannel;

/// How long the broker may take to requeue what was released.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A queue with all its messages held. When it is dropped the connection ends, and the broker requeues every message
/// that was not removed.
#[derive(Debug)]
pub struct HeldQueue {
    queue: String,
    connection: Arc<Connection>,
    channel: Channel,
    /// Publishes on the same connection.
    pub publisher: ConfirmChannel,
}

impl HeldQueue {
    /// Takes every message without acknowledging it.
    pub async fn hold(amqp_url: &str, queue: String) -> Result<(Self, Vec<RawMessage>), BrokerError> {
        let connection = Arc::new(connect(amqp_url, "held queue").await?);
        let channel = connection.create_channel().await?;
        let publisher = ConfirmChannel::open(connection.clone()).await?;
        let mut messages = Vec::new();
        while let Some(message) = channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await?
        {
            messages.push(RawMessage(message.delivery));
        }
        Ok((Self { queue, connection, channel, publisher }, messages))
    }

    /// Removes a message by its delivery tag. The broker does not answer; [`settle`](Self::settle) waits until it has done
    /// so.
    pub async fn remove(&self, delivery_tag: u64) -> Result<(), BrokerError> {
        Ok(self.channel.basic_ack(delivery_tag, BasicAckOptions::default()).await?)
    }

    /// Waits until the broker has carried out every removal.
    pub async fn settle(&self) -> Result<(), BrokerError> {
        self.depth().await.map(drop)
    }

    /// Releases the `count` messages that are still held, and waits until they are in the queue again, so that the
    /// next one who looks finds them.
    pub async fn release(self, count: usize) -> Result<(), BrokerError> {
        // Tag 0 means every delivery without an acknowledgement (AMQP 0-9-1, basic.nack). The broker keeps no order then.
        let all = BasicNackOptions { multiple: true, requeue: true };
        self.channel.basic_nack(0, all).await?;
        let deadline = Instant::now() + RELEASE_LIMIT;
        while (self.depth().await? as usize) < count && Instant::now() < deadline {
            sleep(LOOK_INTERVAL).await;
        }
        close(&self.connection).await
    }

    async fn depth(&self) -> Result<u32, BrokerError> {
        Ok(look_at(&self.channel, &self.queue).await?.message_count())
    }
}
