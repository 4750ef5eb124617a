//! Messages that failed: each waits in a retry queue for its next attempt, or is a dead letter.
//!
//! The message is published again with its body untouched, and only then acknowledged. The broker's own `x-death`
//! headers are left out: with them RabbitMQ 3.10 drops a message that comes to a queue again.

use amqp::{Broker, BrokerError, Headers, OutgoingMessage, Publisher, RawMessage, topology};
use runtime::clock;

use crate::metrics::METRICS;

pub(crate) const ATTEMPTS: &str = "x-attempts";
pub(crate) const REASON: &str = "x-reason";
/// The queue in which it failed.
pub(crate) const ORIGIN: &str = "x-origin";
/// When the last attempt failed, RFC 3339.
pub(crate) const FAILED_AT: &str = "x-failed-at";

/// Headers are read by people: long reasons are cut.
const REASON_MAX_CHARS: usize = 1000;

#[derive(Debug)]
pub(crate) struct FailedMessage<'a> {
    pub(crate) message: &'a RawMessage,
    pub(crate) reason: String,
    /// Whether another attempt may succeed. None can for a message that cannot be decoded.
    pub(crate) may_retry: bool,
}

impl FailedMessage<'_> {
    /// Publishes the message to the queue of the next retry delay; to the dead-letter queue after the last.
    pub(crate) async fn publish(&self, broker: &Broker, publisher: &Publisher) -> Result<(), BrokerError> {
        let attempts = self.failed_before() + usize::from(self.may_retry);
        let delay = broker.config().retry_delays.as_slice().get(attempts.wrapping_sub(1));
        let delay = delay.filter(|_| self.may_retry);
        let queue = match delay {
            Some(delay) => topology::retry_queue(broker.service(), *delay),
            None => topology::dead_letter_queue(broker.service()),
        };
        // Without an id its confirm could not be told from others.
        let message_id = self.message.id().unwrap_or_else(|| clock::new_id().to_string());
        let reason = &self.reason;
        if delay.is_some() {
            tracing::warn!(message_id, attempts, queue, reason, "a message failed: a retry is scheduled");
        } else {
            tracing::error!(message_id, attempts, queue, reason, "a message failed: it is a dead letter");
        }
        let channel = publisher.channel().await?;
        let published = OutgoingMessage {
            id: message_id,
            exchange: &topology::own_exchange(broker.service()),
            routing_key: &queue,
            content_type: self.message.content_type().unwrap_or("application/octet-stream"),
            headers: self.headers(broker, attempts),
            body: self.message.body(),
        };
        channel.publish_one(published).await?;
        channel.close().await;
        match delay {
            Some(_) => METRICS.retry_scheduled(&queue),
            None => METRICS.dead_lettered(&queue, 1),
        }
        Ok(())
    }

    fn headers(&self, broker: &Broker, attempts: usize) -> Headers {
        let reason: String = self.reason.chars().take(REASON_MAX_CHARS).collect();
        Headers::default()
            .with_text(REASON, &reason)
            .with_text(ORIGIN, &topology::events_queue(broker.service()))
            .with_text(FAILED_AT, &clock::now().to_rfc3339())
            .with_number(ATTEMPTS, i64::try_from(attempts).unwrap_or(i64::MAX))
    }

    fn failed_before(&self) -> usize {
        let attempts = self.message.headers().number(ATTEMPTS);
        attempts.and_then(|attempts| usize::try_from(attempts).ok()).unwrap_or_default()
    }
}
