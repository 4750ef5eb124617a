//! What a user can try on the broker, and what the broker answers.

use amqp::topology::{Binding, EVENT_STREAM, Exchange, Queue};
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Error, ErrorKind, ExchangeKind};
use testkit::World;

/// One thing to try.
#[derive(Debug, Clone)]
pub(super) enum Attempt {
    /// Take a message, and give it back.
    Get(String),
    /// Read a queue.
    Consume(String),
    /// Empty a queue.
    Purge(String),
    /// Make a queue, or find it as it is.
    DeclareQueue(Queue),
    /// Remove a queue.
    DeleteQueue(String),
    /// Bind a queue to an exchange.
    Bind(Binding),
    /// Undo that.
    Unbind(Binding),
    /// Make an exchange, or find it as it is.
    DeclareExchange(Exchange),
    /// Make an exchange that passes on what it cannot route.
    DeclareAlternate { name: String, alternate: String },
    /// Remove an exchange.
    DeleteExchange(String),
    /// Bind an exchange to another one.
    BindExchange { destination: String, source: String, key: String },
    /// Publish a message.
    Publish { exchange: String, key: String },
}

/// What the broker answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// 403: the user may not.
    Refused,
    /// 540: the user may, but a stream cannot.
    NotImplemented,
}

/// A user who is logged in.
#[derive(Debug)]
pub(super) struct Visitor {
    url: String,
    connection: Connection,
    channel: Channel,
}

impl Visitor {
    /// Logs in.
    pub(super) async fn enter(world: &World, user: &str) -> Self {
        let url = world.amqp_url(user);
        let connection = connect(&url).await;
        let channel = open_channel(&connection).await;
        Self { url, connection, channel }
    }

    /// Tries it; with any other answer the test is over.
    pub(super) async fn attempt(&mut self, attempt: &Attempt) -> Outcome {
        let Err(error) = attempt.make(&self.channel).await else { return Outcome::Done };
        let outcome = match error.kind() {
            ErrorKind::ProtocolError(protocol) => match protocol.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Outcome::Refused,
                AMQPErrorKind::Hard(AMQPHardError::NOTIMPLEMENTED) => Outcome::NotImplemented,
                _ => panic!("{attempt:?}: {error}"),
            },
            _ => panic!("{attempt:?}: {error}"),
        };
        // An error closes the channel, and a hard one the connection, too.
        if outcome == Outcome::NotImplemented {
            self.connection = connect(&self.url).await;
        }
        self.channel = open_channel(&self.connection).await;
        outcome
    }
}

impl Attempt {
    async fn make(&self, channel: &Channel) -> Result<(), Error> {
        match self {
            Self::Get(queue) => get(channel, queue).await,
            Self::Consume(queue) => consume(channel, queue).await,
            Self::Purge(queue) => {
                channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await.map(drop)
            }
            Self::DeclareQueue(queue) => {
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(queue.name.as_str().into(), options, queue.table()).await.map(drop)
            }
            Self::DeleteQueue(queue) => {
                channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.map(drop)
            }
            Self::Bind(binding) => bind(channel, binding).await,
            Self::Unbind(binding) => unbind(channel, binding).await,
            Self::DeclareExchange(Exchange { name, kind }) => declare(channel, name, kind, None).await,
            Self::DeclareAlternate { name, alternate } => {
                declare(channel, name, "direct", Some(alternate)).await
            }
            Self::DeleteExchange(name) => {
                channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await
            }
            Self::BindExchange { destination, source, key } => {
                let options = ExchangeBindOptions::default();
                let (destination, source) = (destination.as_str().into(), source.as_str().into());
                channel
                    .exchange_bind(destination, source, key.as_str().into(), options, FieldTable::default())
                    .await
            }
            Self::Publish { exchange, key } => publish(channel, exchange, key).await,
        }
    }
}

async fn get(channel: &Channel, queue: &str) -> Result<(), Error> {
    if let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        message.delivery.acker.nack(requeue).await?;
    }
    Ok(())
}

async fn consume(channel: &Channel, queue: &str) -> Result<(), Error> {
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let mut arguments = FieldTable::default();
    if queue == EVENT_STREAM {
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString(LongString::from("first")));
    }
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(queue.into(), queue.into(), options, arguments).await?;
    channel.basic_cancel(consumer.tag(), lapin::options::BasicCancelOptions::default()).await
}

async fn bind(channel: &Channel, binding: &Binding) -> Result<(), Error> {
    let Binding { exchange, queue, routing_key } = binding;
    let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
    let options = QueueBindOptions::default();
    channel.queue_bind(queue, exchange, routing_key.as_str().into(), options, FieldTable::default()).await
}

async fn unbind(channel: &Channel, binding: &Binding) -> Result<(), Error> {
    let Binding { exchange, queue, routing_key } = binding;
    let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
    channel.queue_unbind(queue, exchange, routing_key.as_str().into(), FieldTable::default()).await
}

async fn declare(channel: &Channel, name: &str, kind: &str, alternate: Option<&str>) -> Result<(), Error> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    if let Some(alternate) = alternate {
        arguments.insert("alternate-exchange".into(), AMQPValue::LongString(alternate.into()));
    }
    channel.exchange_declare(name.into(), ExchangeKind::Custom(kind.to_owned()), options, arguments).await
}

async fn publish(channel: &Channel, exchange: &str, key: &str) -> Result<(), Error> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let confirm = channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties).await?;
    assert!(confirm.await?.is_ack(), "{key} was not taken");
    Ok(())
}

async fn connect(url: &str) -> Connection {
    Connection::connect(url, ConnectionProperties::default()).await.expect("the broker lets the user in")
}

async fn open_channel(connection: &Connection) -> Channel {
    connection.create_channel().await.expect("a channel")
}
