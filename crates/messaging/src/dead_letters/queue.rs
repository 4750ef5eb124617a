//! The dead letters of a service that hears from a queue: held while somebody looks, and given back.

use std::time::Duration;

use anyhow::Result;
use contracts::ServiceName;
use lapin::{
    Channel, Connection,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use runtime::clock;
use tokio::time::{Instant, sleep};

use super::dead_letter::DeadLetter;
use crate::broker::{self, BrokerError};
use crate::publisher::{Message, publish_all};
use crate::topology;

/// How long the broker may take until what was given back lies in its queue again.
const GIVEN_BACK_LIMIT: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A queue of dead letters with all of them in hand. When it is dropped the connection ends, and the broker puts
/// back what was not removed.
pub(super) struct HeldQueue {
    service: ServiceName,
    connection: Connection,
    channel: Channel,
}

impl HeldQueue {
    /// Takes every letter in hand, without acknowledging it.
    pub(super) async fn hold(service: ServiceName, amqp_url: &str) -> Result<(Self, Vec<DeadLetter>)> {
        let connection = broker::connect(broker::parse_uri(amqp_url)?, "dead letters").await?;
        let channel = connection.create_channel().await.map_err(BrokerError::from)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(BrokerError::from)?;
        let held = Self { service, connection, channel };
        let letters = held.take_all().await?;
        Ok((held, letters))
    }

    async fn take_all(&self) -> Result<Vec<DeadLetter>, BrokerError> {
        let queue = topology::dead_letter_queue(self.service);
        let mut letters = Vec::new();
        while let Some(message) =
            self.channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await?
        {
            letters.push(DeadLetter::held(self.service, &message));
        }
        Ok(letters)
    }

    /// Puts a letter back to the queue that its service hears from, as its announcer would have published it: with
    /// no headers, so that all its attempts are before it again.
    ///
    /// # Errors
    /// When the queue did not take it, or nothing is known of it.
    pub(super) async fn put_back(&self, letter: &DeadLetter) -> Result<(), BrokerError> {
        let queue = topology::events_queue(self.service);
        // Without an id its confirm could not be told from others.
        let id = if letter.message_id.is_empty() {
            clock::new_id().to_string()
        } else {
            letter.message_id.clone()
        };
        let message = Message {
            id: id.clone(),
            exchange: &topology::own_exchange(self.service),
            routing_key: &queue,
            content_type: letter.content_type.as_deref().unwrap_or("application/octet-stream"),
            headers: FieldTable::default(),
            body: &letter.body,
        };
        if publish_all(&self.channel, &[message]).await.contains(&id) {
            return Ok(());
        }
        Err(BrokerError::Away(format!("{queue} did not take letter {}", letter.id)))
    }

    /// Takes a letter out of the queue for good.
    pub(super) async fn remove(&self, letter: &DeadLetter) -> Result<(), BrokerError> {
        Ok(self.channel.basic_ack(letter.place, BasicAckOptions::default()).await?)
    }

    /// Waits until the broker has worked off what it was told. An acknowledgement has no answer of its own.
    pub(super) async fn settle(&self) -> Result<(), BrokerError> {
        self.depth().await.map(drop)
    }

    /// Gives back what is still in hand, and waits until it lies in the queue again: whoever looks next must find it
    /// there.
    pub(super) async fn give_back(self, in_hand: usize) -> Result<(), BrokerError> {
        // Zero is every delivery that is not acknowledged (AMQP 0-9-1, basic.nack). The broker keeps no order then.
        let all = BasicNackOptions { multiple: true, requeue: true };
        self.channel.basic_nack(0, all).await?;
        let deadline = Instant::now() + GIVEN_BACK_LIMIT;
        while (self.depth().await? as usize) < in_hand && Instant::now() < deadline {
            sleep(LOOK_INTERVAL).await;
        }
        Ok(self.connection.close(200, "done".into()).await?)
    }

    async fn depth(&self) -> Result<u32, BrokerError> {
        let queue = topology::dead_letter_queue(self.service);
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared =
            self.channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
        Ok(declared.message_count())
    }
}
