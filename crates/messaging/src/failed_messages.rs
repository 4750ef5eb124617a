//! Messages that failed: rows, written in the transaction of their batch. The broker has no part in it.
//!
//! | the message | is tried again | becomes a dead letter |
//! |---|---|---|
//! | is garbage: no envelope, or its attributes contradict each other | never | at once |
//! | is not for this build: an event, a version or a row that it does not know | after 1 s and more, up to 5 min | after a day |
//! | failed, alone | after each [retry delay](RetryDelays) | after the last one |
//! | was delivered 3 times, and its consumer died | at once, alone | when the process dies in 3 more attempts |
//!
//! What the broker dead-letters itself, because it was delivered too often, becomes a row as well.

mod retrier;
mod retry_policy;
mod store;

use std::time::Duration;

use amqp::RawMessage;
use amqp::topology::{EVENT_STREAM, events_queue};
use contracts::{DecodeError, Envelope, EventSet, Versions};
use runtime::error::with_sources;
use sqlx::PgConnection;
use tracing::{Instrument, Span};

use crate::delivery::Delivery;
use crate::effects::Effects;
use crate::failure_policy::Failure;
use crate::inbox;
use crate::reaction::{Reaction, react};

pub(crate) use retrier::Retrier;
pub(crate) use retry_policy::{Rejection, SUSPECT_DELIVERIES};
pub use retry_policy::{RetryConfig, RetryDelays};

/// Where the messages of a service come from, and which of them it reads.
pub struct Source<E> {
    /// The name of the queue or of the stream.
    name: String,
    /// The names of the events that it subscribes to; none for a reader of the event stream, which gets all.
    subscriptions: Option<Vec<&'static str>>,
    versions: Versions<E>,
    retries: RetryConfig,
}

/// A message in a batch: an event that is to take effect, or one that is stored as failed.
pub(crate) struct Item<'a, E> {
    pub(crate) message: &'a RawMessage,
    pub(crate) event: Result<Delivery<E>, Rejection>,
}

/// What a batch comes to.
pub(crate) struct Applied<E> {
    pub(crate) effects: Effects<E>,
    /// How many events take effect.
    pub(crate) count: usize,
}

impl<E: EventSet> Source<E> {
    /// The events queue of a service that subscribes to the events of these names.
    pub fn queue(
        service: &str,
        subscriptions: Vec<&'static str>,
        versions: Versions<E>,
        retries: RetryConfig,
    ) -> Self {
        Self { name: events_queue(service), subscriptions: Some(subscriptions), versions, retries }
    }

    pub(crate) fn stream(versions: Versions<E>, retries: RetryConfig) -> Self {
        Self { name: EVENT_STREAM.to_owned(), subscriptions: None, versions, retries }
    }

    pub(crate) fn item<'a>(&self, message: &'a RawMessage) -> Item<'a, E> {
        Item { message, event: self.event_of(message) }
    }

    fn event_of(&self, message: &RawMessage) -> Result<Delivery<E>, Rejection> {
        if message.deliveries() >= SUSPECT_DELIVERIES {
            return Err(Rejection::SetAside(format!("delivered {} times before", message.deliveries())));
        }
        let envelope = self.decode(message.body())?;
        let name = envelope.event.row().name;
        match message.event_key() {
            // Under which routing keys a service may publish is checked by the broker, so the type must agree.
            Some(key) if key != name => {
                Err(Rejection::Garbage(format!("its routing key is {key:?}, and its type is of {name}")))
            }
            _ => self.subscribed(envelope),
        }
    }

    /// The event of a message that failed.
    fn delivery_of(&self, body: &[u8]) -> Result<Delivery<E>, Rejection> {
        self.subscribed(self.decode(body)?)
    }

    fn decode(&self, body: &[u8]) -> Result<Envelope<E>, Rejection> {
        self.versions.decode_envelope(body).map_err(|error| {
            let reason = with_sources(&error);
            match error {
                DecodeError::Unsupported(_) => Rejection::NotForThisBuild(reason),
                _ => Rejection::Garbage(reason),
            }
        })
    }

    fn subscribed(&self, envelope: Envelope<E>) -> Result<Delivery<E>, Rejection> {
        let name = envelope.event.row().name;
        if self.subscriptions.as_ref().is_some_and(|names| !names.contains(&name)) {
            return Err(Rejection::NotForThisBuild(format!("{name} is not subscribed to here")));
        }
        Ok(Delivery::new(envelope, &self.name))
    }

    /// Enters the events into the inbox, lets the reaction take those that are not in effect yet, and stores the messages
    /// that have failed. `None` when there was nothing to do.
    pub(crate) async fn apply<R: Reaction<Event = E>>(
        &self,
        reaction: &R,
        conn: &mut PgConnection,
        items: &[Item<'_, E>],
    ) -> Result<Option<Applied<E>>, Failure> {
        let mut events: Vec<_> = items.iter().filter_map(|item| item.event.as_ref().ok()).collect();
        let ids: Vec<_> = events.iter().map(|event| event.envelope.id).collect();
        let mut fresh = inbox::enter(conn, &ids).await.map_err(Failure::of_no_item)?;
        let failed = items.len() - events.len();
        if fresh.is_empty() && failed == 0 {
            return Ok(None);
        }
        let count = fresh.len();
        store::insert(conn, self, items).await?;
        // Each id once: a relay that published an event twice may have done so within one batch.
        events.retain(|event| fresh.remove(&event.envelope.id));
        let effects = react_to(reaction, conn, &events).await?;
        Ok(Some(Applied { effects, count }))
    }

    /// Tells of the failures among the items, once they are stored.
    pub(crate) fn report(&self, items: &[Item<'_, E>]) {
        for item in items {
            if let Err(rejection) = &item.event {
                self.retries.report(
                    &self.name,
                    &store::name_of(item.message),
                    rejection,
                    (0, Duration::ZERO),
                );
            }
        }
    }
}

/// Runs the events through the reaction, in the trace of the first.
pub(crate) async fn react_to<R: Reaction>(
    reaction: &R,
    conn: &mut PgConnection,
    deliveries: &[&Delivery<R::Event>],
) -> Result<Effects<R::Event>, Failure> {
    let span = deliveries.first().map_or_else(Span::none, |delivery| delivery.span.clone());
    let inputs: Vec<_> = deliveries.iter().filter_map(|delivery| R::input(delivery)).collect();
    react(reaction, conn, &inputs).instrument(span).await
}
