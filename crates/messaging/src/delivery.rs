//! An event as a handler gets it.

use contracts::{Envelope, Event, EventSet, TraceContext};
use tracing::{Span, field};

use crate::effects::CausationContext;
use crate::trace;

#[derive(Debug, Clone)]
pub struct Delivery<E = Event> {
    pub envelope: Envelope<E>,
    pub(crate) span: Span,
    trace: TraceContext,
}

impl<E: EventSet> Delivery<E> {
    /// An event of that queue, with a span that continues the trace of its publisher.
    pub fn new(envelope: Envelope<E>, queue: &str) -> Self {
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
        Self { envelope, span, trace }
    }

    pub fn origin(&self) -> CausationContext {
        CausationContext { cause: Some(self.envelope.id), trace: self.trace.clone() }
    }
}
