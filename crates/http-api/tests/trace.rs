//! A request's span continues the trace of its caller.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{Router, routing::get};
use opentelemetry::{
    global,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use runtime::{Listeners, config::HttpConfig, health::Health};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

async fn current_trace_id() -> String {
    tracing::Span::current().context().span().span_context().trace_id().to_string()
}

#[tokio::test]
async fn a_handler_runs_in_the_trace_of_its_caller() {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let subscriber = tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = Listeners { http: bind().await, operations: bind().await };
    let url = format!("http://{}/trace", listeners.http.local_addr().unwrap());
    let config: Config = runtime::config::from_env(|_| None).unwrap();
    let router = Router::new().route("/trace", get(current_trace_id));
    let shutdown = CancellationToken::new();
    let server = http_api::serve(
        listeners,
        router,
        Health::new(),
        HttpConfig { shutdown_delay: Duration::ZERO, ..config.http },
        shutdown.clone(),
    );
    let client = async {
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let caller = format!("00-{trace_id}-00f067aa0ba902b7-01");
        let request = reqwest::Client::new().get(&url).header("traceparent", caller);
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), trace_id);
        let alone = reqwest::get(&url).await.unwrap().text().await.unwrap();
        assert!(alone.len() == 32 && alone != trace_id && alone != "0".repeat(32), "{alone}");
        shutdown.cancel();
    };
    let (result, ()) = tokio::join!(server, client);
    result.unwrap();
}

#[derive(clap::Parser)]
struct Config {
    #[command(flatten)]
    http: HttpConfig,
}
