//! A collector of traces: takes them over OTLP/gRPC, as far as an exporter needs it, and keeps them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// In front of each message: no compression, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;
/// An empty answer, framed.
const EMPTY: [u8; PREFIX_BYTES] = [0; PREFIX_BYTES];

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
        tasks.spawn(listen(listener, Arc::clone(&spans)));
        Self { url, spans, _listener: tasks }
    }

    /// The spans of a trace so far, each with its service.
    pub(super) fn trace(&self, trace_id: &[u8]) -> Vec<(String, Span)> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().filter(|(_, span)| span.trace_id == trace_id).cloned().collect()
    }
}

async fn listen(listener: TcpListener, spans: Spans) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&spans)));
    }
}

async fn connection(stream: TcpStream, spans: Spans) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut requests = JoinSet::new();
    // Bodies arrive while the next request is waited for.
    while let Some(Ok((request, respond))) = connection.accept().await {
        requests.spawn(export(request, respond, Arc::clone(&spans)));
    }
}

async fn export(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    spans: Spans,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        message.extend_from_slice(&part);
    }
    let request = ExportTraceServiceRequest::decode(&message[PREFIX_BYTES..]).expect("an export");
    let arrived = request.resource_spans.into_iter().flat_map(spans_of);
    spans.lock().unwrap_or_else(PoisonError::into_inner).extend(arrived);

    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut answer = respond.send_response(response, false)?;
    answer.send_data(Bytes::from_static(&EMPTY), false)?;
    let status = ("grpc-status".parse().expect("a header"), HeaderValue::from_static("0"));
    answer.send_trailers(HeaderMap::from_iter([status]))
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
