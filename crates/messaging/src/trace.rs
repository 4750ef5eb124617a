//! W3C trace context between spans and envelopes.

use std::collections::HashMap;

use contracts::TraceContext;
use opentelemetry::{Context, propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The context of a span, or none when it is not traced.
pub(crate) fn context_of(span: &Span) -> TraceContext {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return TraceContext::default();
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    let tracestate = carrier.remove("tracestate").filter(|state| !state.is_empty());
    TraceContext::of_foreign(carrier.remove("traceparent"), tracestate)
}

/// Makes a new span, not entered yet, the child of the context, and returns the context for its own children: the span's,
/// or the given one when this process does not trace.
pub(crate) fn continue_in(span: &Span, parent: &TraceContext) -> TraceContext {
    if parent.traceparent.is_some() {
        // Fails only for a span that was entered before, or when no layer traces: then there is nothing to link.
        let _ = span.set_parent(extract(parent));
    }
    let own = context_of(span);
    if own.traceparent.is_some() { own } else { parent.clone() }
}

fn extract(trace: &TraceContext) -> Context {
    let fields = [("traceparent", &trace.traceparent), ("tracestate", &trace.tracestate)];
    let carrier: HashMap<String, String> = fields
        .into_iter()
        .filter_map(|(name, value)| value.clone().map(|value| (name.to_owned(), value)))
        .collect();
    TraceContextPropagator::new().extract(&carrier)
}
