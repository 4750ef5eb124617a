//! An event as a handler gets it.

use amqp::RawMessage;
use contracts::{Envelope, Event, EventSet, TraceContext, Versions};
use runtime::error::with_sources;
use tracing::{Span, field};

use crate::effects::CausationContext;
use crate::trace;

/// The event of a message, or why it cannot be read as one. Under which routing keys a service may publish is checked by the broker, so
/// the type must agree with the key.
pub(crate) fn decode<E: EventSet>(
    versions: &Versions<E>,
    message: &RawMessage,
) -> Result<Envelope<E>, String> {
    let envelope = versions.decode_envelope(message.body()).map_err(|error| with_sources(&error))?;
    let name = envelope.event.row().name;
    match message.event_key() {
        Some(key) if key != name => Err(format!("its routing key is {key:?}, and its type is of {name}")),
        _ => Ok(envelope),
    }
}

#[derive(Debug, Clone)]
pub struct Delivery<E = Event> {
    pub envelope: Envelope<E>,
    /// Its place among the messages that were received together.
    pub(crate) position: usize,
    pub(crate) span: Span,
    trace: TraceContext,
}

impl<E: EventSet> Delivery<E> {
    /// An event of that queue, with a span that continues the trace of its publisher.
    pub fn new(envelope: Envelope<E>, queue: &str, position: usize) -> Self {
        let name = envelope.event.row().name;
        let span = tracing::info_span!(
            "process",
            otel.name = format!("process {name}"),
            otel.kind = "consumer",
            messaging.system = "rabbitmq",
            messaging.operation.type = "process",
            messaging.destination.name = queue,
            messaging.rabbitmq.destination.routing_key = name,
            messaging.message.id = %envelope.id,
            messaging.message.conversation_id = envelope.event.subject().correlation_id().map(field::display),
        );
        let trace = trace::continue_in(&span, &envelope.trace);
        Self { envelope, position, span, trace }
    }

    pub fn origin(&self) -> CausationContext {
        CausationContext { cause: Some(self.envelope.id), trace: self.trace.clone() }
    }
}
