//! Receiving messages in batches: whatever has arrived, up to a maximum.

use futures::{StreamExt, stream::ReadyChunks};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};

use crate::broker::Broker;
use crate::connection::connect;
use crate::error::BrokerError;
use crate::message::{RawMessage, STREAM_OFFSET};
use crate::topology::{EVENT_STREAM, events_queue};

const CONSUMER_TAG: &str = "receiver";

/// Where a reader of the event stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// At the oldest event that the stream still has.
    First,
    Offset(i64),
}

/// A connection of a reader of the event stream that does not read yet.
#[derive(Debug)]
pub struct StreamConnection {
    connection: Connection,
    channel: Channel,
    batch: u16,
}

impl StreamConnection {
    pub async fn open(broker: &Broker) -> Result<Self, BrokerError> {
        let connection = broker.connect("stream reader").await?;
        let channel = connection.create_channel().await?;
        Ok(Self { connection, channel, batch: broker.config().batch })
    }

    /// Reads the event stream.
    pub async fn receive(self, start: StreamStart) -> Result<Receiver, BrokerError> {
        let mut arguments = FieldTable::default();
        let start = match start {
            StreamStart::First => AMQPValue::LongString("first".into()),
            StreamStart::Offset(offset) => AMQPValue::LongLongInt(offset),
        };
        arguments.insert(STREAM_OFFSET.into(), start);
        Receiver::consume(self.connection, self.channel, EVENT_STREAM.to_owned(), self.batch, arguments).await
    }
}

/// Receives the messages of one queue over a connection of its own.
#[derive(Debug)]
pub struct Receiver {
    connection: Connection,
    channel: Channel,
    batches: ReadyChunks<Consumer>,
    queue: String,
}

impl Receiver {
    /// Receives from the service's events queue. Declares the service's own topology first.
    pub async fn of_events_queue(broker: &Broker) -> Result<Self, BrokerError> {
        let connection = broker.connect("consumer").await?;
        let channel = connection.create_channel().await?;
        broker.declare_own(&channel).await?;
        let queue = events_queue(broker.service());
        Self::consume(connection, channel, queue, broker.config().batch, FieldTable::default()).await
    }

    /// Receives from any queue that the user of the URL may read; the broker lists the connection under `name`.
    pub async fn of_queue(amqp_url: &str, name: &str, queue: &str, batch: u16) -> Result<Self, BrokerError> {
        let connection = connect(amqp_url, name).await?;
        let channel = connection.create_channel().await?;
        Self::consume(connection, channel, queue.to_owned(), batch, FieldTable::default()).await
    }

    async fn consume(
        connection: Connection,
        channel: Channel,
        queue: String,
        batch: u16,
        arguments: FieldTable,
    ) -> Result<Self, BrokerError> {
        // While one batch is handled, the next one arrives.
        channel.basic_qos(batch * 2, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer =
            channel.basic_consume(queue.as_str().into(), CONSUMER_TAG.into(), options, arguments).await?;
        Ok(Self { connection, channel, batches: consumer.ready_chunks(batch.into()), queue })
    }

    /// Waits for messages, and takes all that have arrived, up to a batch. No message is lost when the future is
    /// dropped.
    ///
    /// # Errors
    /// [`BrokerError`], also when the broker cancelled the consumer.
    pub async fn receive(&mut self) -> Result<Vec<RawMessage>, BrokerError> {
        let Some(arrived) = self.batches.next().await else {
            return Err(BrokerError::Unavailable(format!("it cancelled the consumer of {}", self.queue)));
        };
        arrived.into_iter().map(|message| Ok(RawMessage(message?))).collect()
    }

    /// Acknowledges every message that was received, up to the last one of these, in whatever order they are.
    pub async fn ack_through(&self, messages: &[RawMessage]) -> Result<(), BrokerError> {
        let Some(last) = messages.iter().map(RawMessage::delivery_tag).max() else { return Ok(()) };
        let multiple = BasicAckOptions { multiple: true };
        Ok(self.channel.basic_ack(last, multiple).await?)
    }

    /// Whether the channel is open. When it is not, the broker has requeued every message without an acknowledgement.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Stops receiving; the broker requeues every message without an acknowledgement.
    pub async fn close(self) -> Result<(), BrokerError> {
        self.channel.basic_cancel(CONSUMER_TAG.into(), BasicCancelOptions::default()).await?;
        Ok(self.connection.close(200, "shutdown".into()).await?)
    }
}
