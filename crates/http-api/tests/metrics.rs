//! Requests are counted. The one test of its process: telemetry can be started once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{Router, routing::get};
use reqwest::{Client, Method};
use runtime::{
    Listeners,
    config::{HttpConfig, LogFormat, TelemetryConfig},
    health::Health,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;

#[tokio::test]
async fn requests_are_counted_by_method_route_and_status() {
    let telemetry =
        TelemetryConfig { log_format: LogFormat::Pretty, log_filter: Targets::new(), otlp_endpoint: None };
    let telemetry = runtime::telemetry::init("sample", &telemetry).unwrap();
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = Listeners { http: bind().await, operations: bind().await };
    let url = format!("http://{}", listeners.http.local_addr().unwrap());
    let metrics = format!("http://{}/metrics", listeners.operations.local_addr().unwrap());
    let config: Config = runtime::config::from_env(|_| None).unwrap();
    let router = Router::new().route("/hello", get(async || "hello"));
    let shutdown = CancellationToken::new();
    let server = http_api::serve(
        listeners,
        router,
        Health::new(),
        HttpConfig { shutdown_delay: Duration::ZERO, ..config.http },
        shutdown.clone(),
    );
    let client = async {
        let (client, odd) = (Client::new(), Method::from_bytes(b"BREW").unwrap());
        client.get(format!("{url}/hello")).send().await.unwrap();
        client.request(odd, format!("{url}/hello")).send().await.unwrap();
        let text = client.get(metrics).send().await.unwrap().text().await.unwrap();
        for series in [
            r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/hello"} 1"#,
            r#"http_server_request_duration_seconds_count{http_request_method="_OTHER",http_response_status_code="405",http_route="/hello"} 1"#,
            "http_server_active_requests 0",
        ] {
            assert!(text.contains(series), "{series} is not in:\n{text}");
        }
        shutdown.cancel();
    };
    let (result, ()) = tokio::join!(server, client);
    result.unwrap();
    telemetry.flush().await;
}

#[derive(clap::Parser)]
struct Config {
    #[command(flatten)]
    http: HttpConfig,
}
