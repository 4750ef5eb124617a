//! Replays of dead letters of a queue.

use amqp::{BrokerError, Headers, HeldQueue, OutgoingMessage, topology};
use runtime::clock;

use super::dead_letter::DeadLetter;

/// Publishes a dead letter to the events queue of its service without any headers, so that it has all its attempts again.
///
/// # Errors
/// When the queue did not confirm it.
pub(super) async fn replay(held: &HeldQueue, dead_letter: &DeadLetter) -> Result<(), BrokerError> {
    let service = dead_letter.service.as_str();
    // Without an id its confirm could not be told from others.
    let id = Some(&dead_letter.message_id).filter(|id| !id.is_empty());
    let message = OutgoingMessage {
        id: id.cloned().unwrap_or_else(|| clock::new_id().to_string()),
        exchange: &topology::own_exchange(service),
        routing_key: &topology::events_queue(service),
        content_type: dead_letter.content_type.as_deref().unwrap_or("application/octet-stream"),
        headers: Headers::default(),
        body: &dead_letter.body,
    };
    held.publisher.publish_one(message).await
}
