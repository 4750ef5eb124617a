//! A look into a world's broker, and a hand in it: how much waits, what is said, a message held back.

use std::collections::BTreeMap;

use amqp::topology::EVENTS_EXCHANGE;
use contracts::Envelope;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use serde_json::json;

use crate::wait::eventually;
use crate::world::World;

/// The queue of a test that listens.
const LISTENER: &str = "listener";

/// A message that is kept from its reader.
#[derive(Debug)]
pub struct Held {
    /// The event in it.
    pub envelope: Envelope,
    message: BasicGetMessage,
    // The message goes back when its channel closes.
    _channel: Channel,
}

/// Everything that is said from its making on.
#[derive(Debug)]
pub struct Listener {
    channel: Channel,
    received: Vec<Envelope>,
}

impl World {
    /// Says an event in its service's place.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn publish(&self, envelope: &Envelope) {
        let body = envelope.to_json().expect("encodes");
        let key = envelope.event.event_type().name();
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_message_id(envelope.id.to_string().into());
        let channel = self.channel().await;
        let confirm = channel
            .basic_publish(EVENTS_EXCHANGE.into(), key.into(), options, body.as_bytes(), properties)
            .await
            .expect("published");
        assert!(confirm.await.expect("a confirm").is_ack(), "{key} was not taken");
    }

    /// Publishes a message with a header of that many bytes, which a client with small frames cannot read.
    ///
    /// # Panics
    /// When the management API does not take it.
    pub async fn publish_with_header(&self, key: &str, body: &str, length: usize) {
        let path = format!("/api/exchanges/{}/{EVENTS_EXCHANGE}/publish", self.name);
        let properties = json!({"delivery_mode": 2, "headers": {"large": "x".repeat(length)}});
        let message = json!({
            "properties": properties, "routing_key": key, "payload": body, "payload_encoding": "string",
        });
        let (status, answer) = self.management("POST", &path, Some(&message)).await;
        assert_eq!((status, &answer["routed"]), (200, &json!(true)), "{answer}");
    }

    /// The services' queues in which messages wait, and how many.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn waiting(&self) -> BTreeMap<String, u32> {
        let (_, queues) =
            self.management("GET", &format!("/api/queues/{}?columns=name", self.name), None).await;
        let names = queues.as_array().into_iter().flatten().filter_map(|queue| queue["name"].as_str());
        let channel = self.channel().await;
        let mut waiting = BTreeMap::new();
        // The log keeps what was read, and no service reads the listener.
        for name in names.filter(|name| name.contains('.') && *name != amqp::topology::EVENT_STREAM) {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare(name.into(), passive, FieldTable::default()).await.expect(name);
            waiting.insert(name.to_owned(), queue.message_count());
        }
        assert!(!waiting.is_empty(), "no queues: {queues}");
        waiting.retain(|_, count| *count > 0);
        waiting
    }

    /// Takes the first message of a queue that nobody reads, until it is [released](Held::release).
    ///
    /// # Panics
    /// When none comes.
    pub async fn hold(&self, queue: &str) -> Held {
        let channel = self.channel().await;
        let message = eventually(&format!("a message in {queue}"), async || {
            let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
            if let Some(got) = got.expect("the queue answers") {
                return Ok(got);
            }
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
            Err(format!("empty, with {} consumers", declared.expect("the queue is there").consumer_count()))
        })
        .await;
        let envelope = Envelope::from_json(&message.delivery.data).expect("an event");
        Held { envelope, message, _channel: channel }
    }

    /// Receives everything that is published from now on.
    ///
    /// # Panics
    /// When the broker does not do what it is told.
    pub async fn listen(&self) -> Listener {
        let channel = self.channel().await;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(LISTENER.into(), options, FieldTable::default()).await.expect("a queue");
        channel
            .queue_bind(
                LISTENER.into(),
                EVENTS_EXCHANGE.into(),
                "#".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .expect("a binding");
        Listener { channel, received: Vec::new() }
    }
}

impl Held {
    /// Gives the message back to its queue.
    ///
    /// # Panics
    /// When the broker is gone.
    pub async fn release(self) {
        let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        self.message.delivery.acker.nack(requeue).await.expect("the broker answers");
    }
}

impl Listener {
    /// What was said so far.
    ///
    /// # Panics
    /// When something was said that is no event.
    pub async fn received(&mut self) -> &[Envelope] {
        let options = BasicGetOptions::default();
        while let Some(message) = self.channel.basic_get(LISTENER.into(), options).await.expect("an answer") {
            message.delivery.acker.ack(BasicAckOptions::default()).await.expect("the broker answers");
            self.received.push(Envelope::from_json(&message.delivery.data).expect("an event"));
        }
        &self.received
    }

    /// Waits until an event of each of these names was said of the order, and gives all that was said of it.
    pub async fn receives(&mut self, order: &str, names: &[&str]) -> Vec<Envelope> {
        eventually(&format!("{names:?} of {order}"), async || {
            let of_order = |envelope: &&Envelope| envelope.subject() == order;
            let received: Vec<Envelope> = self.received().await.iter().filter(of_order).cloned().collect();
            let said: Vec<&str> =
                received.iter().map(|envelope| envelope.event.event_type().name()).collect();
            if names.iter().all(|name| said.contains(name)) { Ok(received) } else { Err(format!("{said:?}")) }
        })
        .await
    }
}
