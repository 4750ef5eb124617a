//! What a transaction causes beyond its own tables: events to publish, and jobs to run.

use contracts::{Event, TraceContext};
use serde_json::Value;
use tracing::Span;
use uuid::Uuid;

use crate::trace;

/// What caused a piece of work: an event or a request, and the trace that it belongs to.
#[derive(Debug, Clone, Default)]
pub struct CausationContext {
    /// The id of the event; none for a request or a timer.
    pub cause: Option<Uuid>,
    pub trace: TraceContext,
}

impl CausationContext {
    /// The current span, for work that a request or a timer caused.
    pub fn current() -> Self {
        Self { cause: None, trace: trace::context_of(&Span::current()) }
    }
}

/// An event to publish. The outbox gives it id, time and source.
#[derive(Debug, Clone)]
pub struct OutgoingEvent<E = Event> {
    pub event: E,
    /// The version of the aggregate that the event made, counted from 1.
    pub aggregate_version: i64,
    pub origin: CausationContext,
}

#[derive(Debug, Clone)]
pub struct NewJob {
    /// `None` for any id; given where the worker or the outside knows the job by it.
    pub id: Option<Uuid>,
    pub queue: &'static str,
    /// The id of the aggregate that the job is about. Jobs of one key run in the order in which they were written.
    pub key: Uuid,
    /// What else its call depends on, such as a payment method; empty for nothing. Each lane has a breaker, so that one
    /// that fails does not stop the others.
    pub lane: String,
    /// What the worker needs to know.
    pub payload: Value,
    pub origin: CausationContext,
}

impl NewJob {
    /// A job with any id, in the lane of its queue that has no name.
    pub fn new(queue: &'static str, key: Uuid, payload: Value, origin: CausationContext) -> Self {
        Self { id: None, queue, key, lane: String::new(), payload, origin }
    }
}

#[derive(Debug)]
pub struct Effects<E = Event> {
    /// Events to publish, in this order.
    pub events: Vec<OutgoingEvent<E>>,
    pub jobs: Vec<NewJob>,
}

impl<E> Default for Effects<E> {
    fn default() -> Self {
        Self { events: Vec::new(), jobs: Vec::new() }
    }
}

impl<E> Effects<E> {
    pub fn publish(events: Vec<OutgoingEvent<E>>) -> Self {
        Self { events, jobs: Vec::new() }
    }
}
