//! Putting a message aside: on a retry delay, where it waits for its next attempt, or among the dead letters.
//!
//! A message is published again with its body untouched, and only then acknowledged. The broker's own `x-death`
//! headers are left behind: with them RabbitMQ 3.10 drops a message that comes round again.

use amqp::{Broker, BrokerError, Headers, OutgoingMessage, Publisher, RawMessage, topology};
use runtime::clock;

use crate::metrics::METRICS;

/// How often the message was tried and failed.
pub const ATTEMPTS: &str = "x-attempts";
/// Why it failed last.
pub const REASON: &str = "x-reason";
/// The queue in which it failed.
pub const ORIGIN: &str = "x-origin";
/// When it failed last, RFC 3339.
pub const FAILED_AT: &str = "x-failed-at";

/// Headers are for people: long reasons are cut.
const REASON_MAX_CHARS: usize = 1000;

/// Puts a message that failed on the next retry delay, or among the dead letters after the last.
pub(crate) async fn schedule_retry(
    broker: &Broker,
    publisher: &Publisher,
    message: &RawMessage,
    reason: &str,
) -> Result<(), BrokerError> {
    let attempts = attempts(message) + 1;
    let queue = match broker.config().retry_delays.as_slice().get(attempts - 1) {
        Some(delay) => topology::retry_queue(broker.service(), *delay),
        None => topology::dead_letter_queue(broker.service()),
    };
    let aside = FailedMessage { message, message_id: id(message), queue, attempts, reason };
    let FailedMessage { message_id, queue, .. } = &aside;
    tracing::warn!(message_id, attempts, queue, reason, "a message failed and was put aside");
    aside.send(broker, publisher).await
}

/// Puts poison among the dead letters: to try it again would not help.
pub(crate) async fn dead_letter(
    broker: &Broker,
    publisher: &Publisher,
    message: &RawMessage,
    reason: &str,
) -> Result<(), BrokerError> {
    let queue = topology::dead_letter_queue(broker.service());
    let aside =
        FailedMessage { message, message_id: id(message), queue, attempts: attempts(message), reason };
    let FailedMessage { message_id, queue, .. } = &aside;
    tracing::error!(message_id, queue, reason, "poison");
    aside.send(broker, publisher).await
}

/// A message on its way out, and why.
struct FailedMessage<'a> {
    message: &'a RawMessage,
    message_id: String,
    queue: String,
    attempts: usize,
    reason: &'a str,
}

impl FailedMessage<'_> {
    async fn send(&self, broker: &Broker, publisher: &Publisher) -> Result<(), BrokerError> {
        let channel = publisher.channel().await?;
        let published = OutgoingMessage {
            id: self.message_id.clone(),
            exchange: &topology::own_exchange(broker.service()),
            routing_key: &self.queue,
            content_type: self.message.content_type().unwrap_or("application/octet-stream"),
            headers: self.headers(broker),
            body: self.message.body(),
        };
        channel.publish_one(published).await?;
        channel.close().await;
        METRICS.dead_lettered_or_retried(&self.queue);
        Ok(())
    }

    fn headers(&self, broker: &Broker) -> Headers {
        let reason: String = self.reason.chars().take(REASON_MAX_CHARS).collect();
        Headers::default()
            .with_text(REASON, &reason)
            .with_text(ORIGIN, &topology::events_queue(broker.service()))
            .with_text(FAILED_AT, &clock::now().to_rfc3339())
            .with_number(ATTEMPTS, i64::try_from(self.attempts).unwrap_or(i64::MAX))
    }
}

fn attempts(message: &RawMessage) -> usize {
    message.headers().number(ATTEMPTS).and_then(|attempts| usize::try_from(attempts).ok()).unwrap_or_default()
}

/// The message's id; one that came without gets one, so that its confirm can be told from others.
fn id(message: &RawMessage) -> String {
    message.id().unwrap_or_else(|| clock::new_id().to_string())
}
