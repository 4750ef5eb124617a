//! The log of an order: every fact that was announced or heard about it, and how one is recorded.

use chrono::{DateTime, Utc};
use contracts::{Event, OrderId};
use messaging::{CausationContext, Delivery, OutgoingEvent};
use system::Service;
use uuid::Uuid;

use crate::domain::{Order, apply};

/// A fact as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The order.
    pub order_id: OrderId,
    /// The order's version that the fact made, counted from 1.
    pub version: i64,
    /// The envelope's id, when it was heard. What we announce is told by its aggregate version, which is the version.
    pub event_id: Option<Uuid>,
    /// What happened.
    pub fact: Event,
    /// When it was announced, by whoever announced it.
    pub occurred_at: DateTime<Utc>,
    /// When it was recorded here.
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// `announced` when this service says it, `heard` when another does.
    #[must_use]
    pub fn direction(&self) -> &'static str {
        if is_ours(&self.fact) { "announced" } else { "heard" }
    }
}

/// What one transaction records: the entries of the log, and among them those to announce.
#[derive(Debug, Default)]
pub struct EventRecorder {
    /// To append to the log.
    pub entries: Vec<RecordedEvent>,
    /// To put into the outbox.
    pub outgoing: Vec<OutgoingEvent>,
}

/// Why facts are recorded, and when.
#[derive(Debug)]
pub struct Cause {
    now: DateTime<Utc>,
    origin: CausationContext,
    heard: Option<(Uuid, DateTime<Utc>)>,
}

impl Cause {
    /// A person or the clock asked for it.
    #[must_use]
    pub fn told(now: DateTime<Utc>) -> Self {
        Self { now, origin: CausationContext::current(), heard: None }
    }

    /// An event was delivered.
    #[must_use]
    pub fn heard(delivery: &Delivery, now: DateTime<Utc>) -> Self {
        let envelope = &delivery.envelope;
        Self { now, origin: delivery.origin(), heard: Some((envelope.id, envelope.time)) }
    }
}

impl EventRecorder {
    /// Records the fact that began the order.
    pub fn begin(&mut self, order: &Order, placed: Event, because: &Cause) {
        self.note(order, placed, because);
    }

    /// Changes the order by the facts, and records them.
    pub fn add(&mut self, order: &mut Order, facts: Vec<Event>, because: &Cause) {
        for fact in facts {
            apply(order, &fact);
            self.note(order, fact, because);
        }
    }

    fn note(&mut self, order: &Order, fact: Event, because: &Cause) {
        let (event_id, occurred_at) = match because.heard {
            Some((id, time)) if !is_ours(&fact) => (Some(id), time),
            _ => (None, because.now),
        };
        if is_ours(&fact) {
            let (event, origin) = (fact.clone(), because.origin.clone());
            self.outgoing.push(OutgoingEvent { event, aggregate_version: order.version, origin });
        }
        let (order_id, version, recorded_at) = (order.id, order.version, because.now);
        self.entries.push(RecordedEvent { order_id, version, event_id, fact, occurred_at, recorded_at });
    }
}

fn is_ours(fact: &Event) -> bool {
    fact.event_type().owner() == Service::Order
}
