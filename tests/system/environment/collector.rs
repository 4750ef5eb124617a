//! A collector of traces: takes them over OTLP/HTTP and keeps them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The spans that arrived, each with the service that sent it.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

/// A running collector, stopped when dropped.
pub(super) struct Collector {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(super) url: String,
    spans: Spans,
    _listener: JoinSet<()>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let spans = Spans::default();
        let mut tasks = JoinSet::new();
        let router = Router::new().route("/v1/traces", post(export)).with_state(Arc::clone(&spans));
        tasks.spawn(async { axum::serve(listener, router).await.expect("it serves") });
        Self { url, spans, _listener: tasks }
    }

    /// The spans of a trace so far, each with its service.
    pub(super) fn trace(&self, trace_id: &[u8]) -> Vec<(String, Span)> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|(_, span)| span.trace_id == trace_id).cloned().collect()
    }
}

async fn export(State(spans): State<Spans>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("an export");
    let arrived = request.resource_spans.into_iter().flat_map(spans_of);
    spans.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived);
}

fn spans_of(of_resource: ResourceSpans) -> Vec<(String, Span)> {
    let attributes = of_resource.resource.unwrap_or_default().attributes;
    let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
    let service = match service.and_then(|attribute| attribute.value?.value) {
        Some(Value::StringValue(service)) => service,
        other => panic!("no service: {other:?}"),
    };
    let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(|span| (service.clone(), span)).collect()
}
