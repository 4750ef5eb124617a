//! The event log of an order: every event that was published or consumed about it, and how one is recorded.

use chrono::{DateTime, Utc};
use contracts::{Event, OrderId};
use messaging::{CausationContext, Delivery, OutgoingEvent};
use system::Service;
use uuid::Uuid;

use crate::domain::{Order, Transition};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    pub order_id: OrderId,
    /// The order's version that the event made, counted from 1.
    pub version: i64,
    /// The version of the aggregate that published the event: for an event of our own the order's.
    pub aggregate_version: i64,
    /// The envelope's id of a consumed event. What we publish is told by its version.
    pub event_id: Option<Uuid>,
    pub event: Event,
    /// When it was published, by whichever service.
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// `published` by this service, or `consumed` from another.
    pub fn direction(&self) -> &'static str {
        if self.event.event_type().owner() == Service::Order { "published" } else { "consumed" }
    }
}

/// What one transaction records: the entries of the log, and among them the events to publish.
#[derive(Debug, Default)]
pub struct EventRecorder {
    pub entries: Vec<RecordedEvent>,
    pub events: Vec<OutgoingEvent>,
}

#[derive(Debug)]
pub struct Cause<'a> {
    now: DateTime<Utc>,
    context: CausationContext,
    consumed: Option<&'a Delivery>,
}

impl<'a> Cause<'a> {
    pub fn command(now: DateTime<Utc>) -> Self {
        Self { now, context: CausationContext::current(), consumed: None }
    }

    pub fn consumed(delivery: &'a Delivery, now: DateTime<Utc>) -> Self {
        Self { now, context: delivery.origin(), consumed: Some(delivery) }
    }
}

impl EventRecorder {
    /// The order becomes what the transition says, with everything that led there recorded.
    pub fn record(&mut self, order: &mut Order, transition: Transition, cause: &Cause<'_>) {
        let Transition { next, events } = transition;
        let mut version = order.version;
        if let Some(delivery) = cause.consumed.filter(|_| next.version > version) {
            version += 1;
            self.consume(order.id, version, delivery, cause.now);
        }
        for event in events {
            version += 1;
            self.publish(order.id, version, event, cause);
        }
        *order = next;
    }

    fn consume(&mut self, order_id: OrderId, version: i64, delivery: &Delivery, now: DateTime<Utc>) {
        let envelope = &delivery.envelope;
        self.entries.push(RecordedEvent {
            order_id,
            version,
            aggregate_version: envelope.aggregate_version,
            event_id: Some(envelope.id),
            event: envelope.event.clone(),
            occurred_at: envelope.time,
            recorded_at: now,
        });
    }

    /// Records an event of our own that made this version of its order, such as `order.placed`.
    pub fn publish(&mut self, order_id: OrderId, version: i64, event: Event, cause: &Cause<'_>) {
        self.events.push(OutgoingEvent {
            event: event.clone(),
            aggregate_version: version,
            origin: cause.context.clone(),
        });
        self.entries.push(RecordedEvent {
            order_id,
            version,
            aggregate_version: version,
            event_id: None,
            event,
            occurred_at: cause.now,
            recorded_at: cause.now,
        });
    }
}
