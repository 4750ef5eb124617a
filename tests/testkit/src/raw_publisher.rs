//! The broker seen past every outbox and consumer.

use crate::{DEADLINE, World, eventually};
use amqp::topology::EVENT_STREAM;
use contracts::Envelope;
use contracts::envelope::CONTENT_TYPE;
use futures::StreamExt;
use futures::future::join_all;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions,
    BasicQosOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use tokio::time::timeout;

/// A way into the broker past every outbox, for messages as a relay, or an enemy, would send them.
#[derive(Debug)]
pub struct RawPublisher(pub Channel);

impl RawPublisher {
    pub async fn open(world: &World) -> Self {
        Self(world.channel().await)
    }

    /// Publishes events as a relay would.
    pub async fn publish(&self, envelopes: &[Envelope]) {
        for envelope in envelopes {
            let body = envelope.to_json().expect("JSON");
            let id = envelope.id.to_string();
            self.send("domain.events", envelope.event.event_type().name(), &id, body.as_bytes()).await;
        }
    }

    /// Publishes any message.
    pub async fn send(&self, exchange: &str, key: &str, id: &str, body: &[u8]) {
        let properties = BasicProperties::default()
            .with_message_id(id.into())
            .with_content_type(CONTENT_TYPE.into())
            .with_delivery_mode(2);
        self.0
            .basic_publish(exchange.into(), key.into(), BasicPublishOptions::default(), body, properties)
            .await
            .expect("published")
            .await
            .expect("confirmed");
    }

    /// The same, with all of them on their way at once.
    pub async fn flood(&self, envelopes: &[Envelope]) {
        join_all(envelopes.iter().map(|envelope| self.publish(std::slice::from_ref(envelope)))).await;
    }

    /// Forgets what is ready in the queue.
    pub async fn purge(&self, queue: &str) {
        self.0.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("purged");
    }

    /// How many messages are ready in the queue.
    pub async fn depth(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.0.queue_declare(queue.into(), passive, FieldTable::default()).await;
        declared.expect("a queue").message_count()
    }

    /// Waits until the queue holds that many.
    pub async fn holds(&self, queue: &str, count: u32) {
        eventually(&format!("{count} in {queue}"), async || {
            let depth = self.depth(queue).await;
            if depth == count { Ok(()) } else { Err(depth) }
        })
        .await;
    }

    /// Takes so many messages, and dies: the channel ends without an acknowledgement.
    pub async fn die_with(world: &World, queue: &str, count: usize) {
        let channel = world.channel().await;
        let options = BasicConsumeOptions::default();
        let mut consumer = channel
            .basic_consume(queue.into(), "mortal".into(), options, FieldTable::default())
            .await
            .expect("a consumer");
        for _ in 0..count {
            timeout(DEADLINE, consumer.next()).await.expect("a message").expect("one more").expect("intact");
        }
        channel.close(200, "dead".into()).await.expect("closed");
    }

    /// The body of the first message of the log, once there is one.
    pub async fn first_in_the_log(&self) -> Vec<u8> {
        self.0.basic_qos(1, BasicQosOptions::default()).await.expect("a prefetch");
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        let options = BasicConsumeOptions::default();
        let mut log = self
            .0
            .basic_consume(EVENT_STREAM.into(), "raw_publisher".into(), options, arguments)
            .await
            .expect("a reader");
        let first = timeout(DEADLINE, log.next()).await.expect("a message in the log");
        let first = first.expect("the log goes on").expect("a message");
        self.0.basic_cancel("raw_publisher".into(), BasicCancelOptions::default()).await.expect("cancelled");
        first.data
    }

    /// Takes one message out of the queue, once there is one.
    pub async fn take(&self, queue: &str) -> Taken {
        let message = eventually(&format!("a message in {queue}"), async || {
            let got = self.0.basic_get(queue.into(), BasicGetOptions::default()).await.expect("an answer");
            got.ok_or("none")
        })
        .await;
        message.delivery.acker.ack(BasicAckOptions::default()).await.expect("acknowledged");
        Taken {
            id: message.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
            body: message.data.clone(),
        }
    }
}

/// A message that was taken out of a queue.
#[derive(Debug)]
pub struct Taken {
    pub id: String,
    pub body: Vec<u8>,
}
