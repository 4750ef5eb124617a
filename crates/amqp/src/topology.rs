//! What the broker must have: exchanges, queues and bindings, made from the services and their subscriptions.
//!
//! A queue must exist before the first event that it should get is published, even if its service has never run.
//! `mandatory` does not detect a missing queue, since the event stream takes every routing key. So the whole topology is
//! applied before any service starts. What is declared last is a marker, an exchange whose name is a digest of the whole:
//! a publisher that finds it knows that everything exists. Each service declares its own part again whenever it connects,
//! and its bindings every few seconds, so that a binding which was removed comes back.

use std::{fmt, time::Duration};

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::connection::{close, connect};
use crate::error::BrokerError;

/// How long the queues may take to become available after the broker has started.
const QUEUES_UP_LIMIT: Duration = Duration::from_secs(30);
const DECLARE_INTERVAL: Duration = Duration::from_millis(100);

/// The topic exchange that every event is published to, by its name without the version.
pub const EVENTS_EXCHANGE: &str = "domain.events";
/// The stream that keeps every event.
pub const EVENT_STREAM: &str = "domain-events.log";
const EVENT_STREAM_MAX_AGE: &str = "30D";
/// The stream deletes whole segments. Small ones keep the deletion close to the maximum age.
const EVENT_STREAM_SEGMENT_BYTES: i64 = 50_000_000;
/// The backstop against a message that kills its consumer over and over.
const DELIVERY_LIMIT: i64 = 50;
/// Of the queue behind the backstop: it drops nothing itself.
const DEAD_LETTER_DELIVERY_LIMIT: i64 = 2_000_000_000;

/// Of the marker; nothing is ever published to it.
pub const MARKER_KIND: &str = "direct";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Text(String),
    Number(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub name: String,
    /// `topic` or `direct`.
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    pub arguments: Vec<(&'static str, Argument)>,
}

/// A binding of a queue to an exchange. Deserializes from the list of the broker's management API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Binding {
    #[serde(rename = "source")]
    pub exchange: String,
    #[serde(rename = "destination")]
    pub queue: String,
    pub routing_key: String,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} on {}", self.routing_key, self.queue, self.exchange)
    }
}

/// Exchanges, queues and bindings that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    pub exchanges: Vec<Exchange>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
    /// The exchange that says that all of it exists; only of the whole.
    pub marker: Option<String>,
}

pub fn events_queue(service: &str) -> String {
    format!("{service}.events")
}

/// The direct exchange that a service's own queues are bound to by their names.
pub fn own_exchange(service: &str) -> String {
    format!("{service}.own")
}

/// Where the broker puts what was delivered too often. The service stores it, and removes it there.
pub fn dead_letter_queue(service: &str) -> String {
    format!("{service}.dead-letters")
}

impl Topology {
    /// The event stream and the parts of all services that have a queue, each with the routing keys that it subscribes
    /// to: what `sagactl topology apply` declares.
    pub fn whole(services: &[(&str, &[&str])]) -> Self {
        let mut whole = Self::event_stream();
        let stream_binding = std::mem::take(&mut whole.bindings);
        for (service, routing_keys) in services {
            let part = Self::of_service(service, routing_keys);
            whole.exchanges.extend(part.exchanges);
            whole.queues.extend(part.queues);
            whole.bindings.extend(part.bindings);
        }
        whole.bindings.extend(stream_binding);
        whole.marker = Some(whole.digest());
        whole
    }

    /// A name that no other topology has.
    fn digest(&self) -> String {
        const DIGITS: usize = 12;
        let mut digest: String =
            Sha256::digest(format!("{self:?}").as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        digest.truncate(DIGITS);
        format!("topology.{digest}")
    }

    pub fn event_stream() -> Self {
        Self {
            exchanges: vec![Exchange { name: EVENTS_EXCHANGE.to_owned(), kind: "topic" }],
            queues: vec![Queue {
                name: EVENT_STREAM.to_owned(),
                arguments: vec![
                    text("x-queue-type", "stream"),
                    text("x-max-age", EVENT_STREAM_MAX_AGE),
                    number("x-stream-max-segment-size-bytes", EVENT_STREAM_SEGMENT_BYTES),
                ],
            }],
            bindings: vec![Binding {
                exchange: EVENTS_EXCHANGE.to_owned(),
                queue: EVENT_STREAM.to_owned(),
                routing_key: "#".to_owned(),
            }],
            marker: None,
        }
    }

    /// What one service needs for itself: its queues, and the bindings for the routing keys that it subscribes to.
    pub fn of_service(service: &str, routing_keys: &[&str]) -> Self {
        let own = own_exchange(service);
        let queues = vec![
            quorum(events_queue(service), DELIVERY_LIMIT, Some((service, dead_letter_queue(service)))),
            quorum(dead_letter_queue(service), DEAD_LETTER_DELIVERY_LIMIT, None),
        ];
        let mut bindings: Vec<_> = queues
            .iter()
            .map(|queue| Binding {
                exchange: own.clone(),
                queue: queue.name.clone(),
                routing_key: queue.name.clone(),
            })
            .collect();
        bindings.extend(routing_keys.iter().map(|key| Binding {
            exchange: EVENTS_EXCHANGE.to_owned(),
            queue: events_queue(service),
            routing_key: (*key).to_owned(),
        }));
        Self { exchanges: vec![Exchange { name: own, kind: "direct" }], queues, bindings, marker: None }
    }

    /// One quorum queue without bindings.
    pub fn of_quorum_queue(name: &str) -> Self {
        let queue = Queue { name: name.to_owned(), arguments: vec![text("x-queue-type", "quorum")] };
        Self { queues: vec![queue], ..Self::default() }
    }

    /// Declares all of it, the marker last. What exists already with the same arguments stays as it is.
    /// [`BrokerError::Mismatch`] when the broker has a queue or an exchange of that name with other arguments.
    pub async fn declare(&self, channel: &Channel) -> Result<(), BrokerError> {
        if let Some(marker) = &self.marker {
            // Publishers wait until everything is there again.
            channel.exchange_delete(marker.as_str().into(), ExchangeDeleteOptions::default()).await?;
        }
        for Exchange { name, kind } in &self.exchanges {
            declare_exchange(channel, name, kind).await?;
        }
        for queue in &self.queues {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.name.as_str().into(), options, queue.table()).await?;
        }
        self.bind(channel).await?;
        match &self.marker {
            Some(marker) => declare_exchange(channel, marker, MARKER_KIND).await,
            None => Ok(()),
        }
    }

    /// Declares the bindings alone.
    pub(crate) async fn bind(&self, channel: &Channel) -> Result<(), BrokerError> {
        for binding in &self.bindings {
            channel
                .queue_bind(
                    binding.queue.as_str().into(),
                    binding.exchange.as_str().into(),
                    binding.routing_key.as_str().into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
        }
        Ok(())
    }
}

async fn declare_exchange(channel: &Channel, name: &str, kind: &str) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Custom(kind.to_owned());
    Ok(channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await?)
}

/// Declares a topology over a connection of its own. Waits up to 30 s for queues that become available a moment after
/// the broker itself.
pub async fn apply_topology(amqp_url: &str, topology: &Topology) -> Result<(), BrokerError> {
    let connection = connect(amqp_url, "topology").await?;
    let deadline = Instant::now() + QUEUES_UP_LIMIT;
    while let Err(error) = declare_once(&connection, topology).await {
        if !matches!(error, BrokerError::Unavailable(_)) || Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(DECLARE_INTERVAL).await;
    }
    close(&connection).await
}

/// Removes the bindings and the queues, with the messages in them. What does not exist is no error.
pub async fn remove_topology(amqp_url: &str, topology: &Topology) -> Result<(), BrokerError> {
    let connection = connect(amqp_url, "topology").await?;
    let channel = connection.create_channel().await?;
    for Binding { exchange, queue, routing_key } in &topology.bindings {
        let (queue, exchange) = (queue.as_str().into(), exchange.as_str().into());
        channel.queue_unbind(queue, exchange, routing_key.as_str().into(), FieldTable::default()).await?;
    }
    for queue in &topology.queues {
        channel.queue_delete(queue.name.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    close(&connection).await
}

/// Uses a channel of its own, because an error closes the channel.
async fn declare_once(connection: &Connection, topology: &Topology) -> Result<(), BrokerError> {
    let channel = connection.create_channel().await?;
    topology.declare(&channel).await?;
    // Closing a connection fails while one of its channels is still closing.
    channel.close(200, "done".into()).await?;
    Ok(())
}

impl Queue {
    pub fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in &self.arguments {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Argument::Number(number) => AMQPValue::LongLongInt(*number),
            };
            table.insert((*name).into(), value);
        }
        table
    }
}

fn quorum(name: String, delivery_limit: i64, dead_letters_to: Option<(&str, String)>) -> Queue {
    let mut arguments = vec![text("x-queue-type", "quorum"), number("x-delivery-limit", delivery_limit)];
    if let Some((service, queue)) = dead_letters_to {
        arguments.push(text("x-dead-letter-exchange", own_exchange(service)));
        arguments.push(text("x-dead-letter-routing-key", queue));
        arguments.push(text("x-dead-letter-strategy", "at-least-once"));
        // At-least-once needs it; without a length limit nothing is ever rejected.
        arguments.push(text("x-overflow", "reject-publish"));
    }
    Queue { name, arguments }
}

fn text(name: &'static str, value: impl Into<String>) -> (&'static str, Argument) {
    (name, Argument::Text(value.into()))
}

fn number(name: &'static str, value: i64) -> (&'static str, Argument) {
    (name, Argument::Number(value))
}
