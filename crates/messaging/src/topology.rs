//! What the broker must hold: exchanges, queues and bindings, in one list made from the catalogue and from what
//! each service subscriptions.
//!
//! A queue must exist before the first event that it should get is published, also when its service has never
//! run: `mandatory` cannot tell, since the log takes every key. So the whole list is applied before any service
//! starts, and each service declares its own part again whenever it connects.

use std::{fmt, time::Duration};

use contracts::{EventType, ServiceName};
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde::Deserialize;

use crate::broker::BrokerError;
use crate::config::{RetryDelays, delay_name};

/// The topic exchange that every event is published to, by its name without the version.
pub const EVENTS_EXCHANGE: &str = "domain.events";
/// The stream that keeps every event.
pub const EVENT_STREAM: &str = "domain-events.log";
/// How long the stream keeps events.
const EVENT_STREAM_MAX_AGE: &str = "30D";
/// The stream forgets by whole segments: small ones, so that age is what counts.
const EVENT_STREAM_SEGMENT_BYTES: i64 = 50_000_000;
/// The backstop against a message that kills its reader over and over.
const DELIVERY_LIMIT: i64 = 50;
/// Looking at a dead letter and putting it back counts as a delivery, so there is no limit that matters.
const DEAD_LETTER_DELIVERY_LIMIT: i64 = 2_000_000_000;

/// A queue's argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// `topic` or `direct`.
    pub kind: &'static str,
}

/// A durable queue or stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<(&'static str, Argument)>,
}

/// A binding of a queue to an exchange; reads as the broker's management API lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Binding {
    /// The exchange.
    #[serde(rename = "source")]
    pub exchange: String,
    /// The queue.
    #[serde(rename = "destination")]
    pub queue: String,
    /// The routing key.
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
    /// The exchanges.
    pub exchanges: Vec<Exchange>,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The bindings.
    pub bindings: Vec<Binding>,
}

/// The queue that a service hears its events from.
#[must_use]
pub fn events_queue(service: ServiceName) -> String {
    format!("{service}.events")
}

/// The direct exchange that a service's own queues are bound to by their names.
#[must_use]
pub fn own_exchange(service: ServiceName) -> String {
    format!("{service}.own")
}

/// The queue where a message waits for its next attempt.
#[must_use]
pub fn retry_queue(service: ServiceName, delay: Duration) -> String {
    format!("{service}.retry.{}", delay_name(delay))
}

/// The queue of what a service could not handle.
#[must_use]
pub fn dead_letter_queue(service: ServiceName) -> String {
    format!("{service}.dead-letters")
}

impl Topology {
    /// Everything, for all services that have a queue: what `sagactl topology apply` declares.
    #[must_use]
    pub fn whole(services: &[(ServiceName, &[EventType])], delays: &RetryDelays) -> Self {
        let mut whole = Self::event_stream();
        let log_binding = std::mem::take(&mut whole.bindings);
        for (service, subscriptions) in services {
            let part = Self::of_service(*service, subscriptions, delays);
            whole.exchanges.extend(part.exchanges);
            whole.queues.extend(part.queues);
            whole.bindings.extend(part.bindings);
        }
        // The last: who finds it finds all the others, too, and may publish.
        whole.bindings.extend(log_binding);
        whole
    }

    /// The exchange of all events, and the log behind it.
    #[must_use]
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
        }
    }

    /// What one service needs for itself: its queues, and the bindings for what it subscriptions.
    #[must_use]
    pub fn of_service(service: ServiceName, subscriptions: &[EventType], delays: &RetryDelays) -> Self {
        let own = own_exchange(service);
        let mut queues = vec![events(service), dead_letters(service)];
        queues.extend(delays.as_slice().iter().map(|delay| retry(service, *delay)));
        let mut bindings: Vec<_> = queues
            .iter()
            .map(|queue| Binding {
                exchange: own.clone(),
                queue: queue.name.clone(),
                routing_key: queue.name.clone(),
            })
            .collect();
        bindings.extend(subscriptions.iter().map(|event| Binding {
            exchange: EVENTS_EXCHANGE.to_owned(),
            queue: events_queue(service),
            routing_key: event.name().to_owned(),
        }));
        Self { exchanges: vec![Exchange { name: own, kind: "direct" }], queues, bindings }
    }

    /// Declares all of it. What is there already, and alike, stays as it is.
    ///
    /// # Errors
    /// [`BrokerError::Mismatch`] when the broker has a queue or an exchange of that name with other arguments.
    pub async fn declare(&self, channel: &Channel) -> Result<(), BrokerError> {
        for exchange in &self.exchanges {
            let kind = ExchangeKind::Custom(exchange.kind.to_owned());
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel
                .exchange_declare(exchange.name.as_str().into(), kind, options, FieldTable::default())
                .await?;
        }
        for queue in &self.queues {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.name.as_str().into(), options, queue.table()).await?;
        }
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

impl Queue {
    /// Its arguments as the broker's client takes them.
    #[must_use]
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

fn events(service: ServiceName) -> Queue {
    quorum(events_queue(service), DELIVERY_LIMIT, Some((service, dead_letter_queue(service))))
}

fn dead_letters(service: ServiceName) -> Queue {
    quorum(dead_letter_queue(service), DEAD_LETTER_DELIVERY_LIMIT, None)
}

/// One delay a queue: a TTL of each message's own would wait behind the queue's head.
fn retry(service: ServiceName, delay: Duration) -> Queue {
    let mut queue =
        quorum(retry_queue(service, delay), DELIVERY_LIMIT, Some((service, events_queue(service))));
    queue.arguments.push(number("x-message-ttl", i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)));
    queue
}

fn quorum(name: String, delivery_limit: i64, dead_letters_to: Option<(ServiceName, String)>) -> Queue {
    let mut arguments = vec![text("x-queue-type", "quorum"), number("x-delivery-limit", delivery_limit)];
    if let Some((service, queue)) = dead_letters_to {
        arguments.push(text("x-dead-letter-exchange", own_exchange(service)));
        arguments.push(text("x-dead-letter-routing-key", queue));
        arguments.push(text("x-dead-letter-strategy", "at-least-once"));
        // What at-least-once rests on; without a length limit nothing is ever rejected.
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
