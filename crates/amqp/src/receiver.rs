//! Receiving messages in batches: whatever has arrived, up to a maximum.

use futures::{StreamExt, stream::ReadyChunks};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};

use crate::broker::Broker;
use crate::config::BATCH;
use crate::connection::{connect, within_setup_limit};
use crate::error::BrokerError;
use crate::message::{RawMessage, STREAM_OFFSET};
use crate::polled_queue::PolledQueue;
use crate::topology::{EVENT_STREAM, events_queue};

const CONSUMER_TAG: &str = "receiver";

/// A connection that does not receive yet.
#[derive(Debug)]
pub struct ReceiverConnection {
    connection: Connection,
    channel: Channel,
    /// The most messages that are taken at once.
    batch: u16,
}

impl ReceiverConnection {
    /// Opens a connection that is named after its purpose.
    pub async fn open(broker: &Broker, purpose: &str) -> Result<Self, BrokerError> {
        let connection = broker.connect(purpose).await?;
        let channel = within_setup_limit(async { Ok(connection.create_channel().await?) }).await?;
        Ok(Self { connection, channel, batch: broker.config().batch })
    }

    /// Receives from the service's events queue. Declares the service's own topology first.
    pub async fn events_queue(self, broker: &Broker) -> Result<Receiver, BrokerError> {
        within_setup_limit(broker.declare_own(&self.channel)).await?;
        self.consume(events_queue(broker.service()), FieldTable::default()).await
    }

    /// Opens a connection as the user of the URL; the broker lists it under `name`.
    pub(crate) async fn of_user(amqp_url: &str, name: &str) -> Result<Self, BrokerError> {
        let connection = connect(amqp_url, name).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { connection, channel, batch: BATCH })
    }

    /// Reads the event stream from `offset` on; from the oldest event that the stream still has when it is 0.
    pub async fn event_stream(self, offset: i64) -> Result<Receiver, BrokerError> {
        let start = match offset {
            0 => AMQPValue::LongString("first".into()),
            _ => AMQPValue::LongLongInt(offset),
        };
        self.event_stream_from(start).await
    }

    /// Reads the event stream from its last chunk on.
    pub(crate) async fn end_of_event_stream(self) -> Result<Receiver, BrokerError> {
        self.event_stream_from(AMQPValue::LongString("last".into())).await
    }

    async fn event_stream_from(self, start: AMQPValue) -> Result<Receiver, BrokerError> {
        let mut arguments = FieldTable::default();
        arguments.insert(STREAM_OFFSET.into(), start);
        self.consume(EVENT_STREAM.to_owned(), arguments).await
    }

    /// Receives from any queue that the user of the URL may read; the broker lists the connection under `name`.
    pub async fn any_queue(
        amqp_url: &str,
        name: &str,
        queue: &str,
        batch: u16,
    ) -> Result<Receiver, BrokerError> {
        let connection = Self { batch, ..Self::of_user(amqp_url, name).await? };
        connection.consume(queue.to_owned(), FieldTable::default()).await
    }

    async fn consume(self, queue: String, arguments: FieldTable) -> Result<Receiver, BrokerError> {
        let Self { connection, channel, batch } = self;
        let consumer = within_setup_limit(async {
            // While one batch is handled, the next one arrives.
            channel.basic_qos(batch * 2, BasicQosOptions::default()).await?;
            let (name, options) = (queue.as_str().into(), BasicConsumeOptions::default());
            Ok(channel.basic_consume(name, CONSUMER_TAG.into(), options, arguments).await?)
        })
        .await?;
        Ok(Receiver { connection, channel, batches: consumer.ready_chunks(batch.into()), queue })
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
    /// Waits for messages, and takes all that have arrived, up to a batch. No message is lost when the future is
    /// dropped.
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

    /// Another queue on the same connection, which is looked at now and then.
    pub async fn poll(&self, queue: String) -> Result<PolledQueue, BrokerError> {
        let channel = within_setup_limit(async { Ok(self.connection.create_channel().await?) }).await?;
        Ok(PolledQueue::new(channel, queue))
    }

    /// Declares the bindings of what is received again: one that was removed comes back.
    pub async fn bind_again(&self, broker: &Broker) -> Result<(), BrokerError> {
        within_setup_limit(async {
            let channel = self.connection.create_channel().await?;
            broker.bind_own(&channel).await?;
            Ok(channel.close(200, "done".into()).await?)
        })
        .await
    }

    /// Whether the channel is open. When it is not, the broker has requeued every message without an acknowledgement.
    pub fn is_open(&self) -> bool {
        self.channel.status().connected()
    }

    /// Stops receiving; the broker requeues every message without an acknowledgement.
    pub async fn close(self) -> Result<(), BrokerError> {
        self.channel.basic_cancel(CONSUMER_TAG.into(), BasicCancelOptions::default()).await?;
        Ok(self.connection.close(200, "shutdown".into()).await?)
    }
}
