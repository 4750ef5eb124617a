//! Dead letters in a queue, replayed.

use amqp::{BrokerError, Headers, HeldQueue, OutgoingMessage, topology};
use runtime::clock;

use super::dead_letter::DeadLetter;

/// Publishes a dead letter to the events queue of its service without any headers, so that it has all its attempts again.
///
/// # Errors
/// When the queue did not confirm it.
pub(super) async fn put_back(held: &HeldQueue, letter: &DeadLetter) -> Result<(), BrokerError> {
    let service = letter.service.as_str();
    // Without an id its confirm could not be told from others.
    let id = Some(&letter.message_id).filter(|id| !id.is_empty());
    let message = OutgoingMessage {
        id: id.cloned().unwrap_or_else(|| clock::new_id().to_string()),
        exchange: &topology::own_exchange(service),
        routing_key: &topology::events_queue(service),
        content_type: letter.content_type.as_deref().unwrap_or("application/octet-stream"),
        headers: Headers::default(),
        body: &letter.body,
    };
    held.publisher.publish_one(message).await
}
