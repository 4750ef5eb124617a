//! The common behaviour of every service's HTTP server, over real connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use http_api::Json;
use reqwest::{Client, Response};
use runtime::{
    config::{HttpConfig, LogFormat, TelemetryConfig},
    health::Health,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;

struct Server {
    address: SocketAddr,
    health: Health,
    shutdown: CancellationToken,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    running: JoinHandle<anyhow::Result<()>>,
}

fn router(entered: Arc<Notify>, release: Arc<Notify>) -> Router {
    let gate = async move || {
        entered.notify_one();
        release.notified().await;
        "released"
    };
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |Json(body): Json<Value>| Json(body)))
        .route("/panic", get(async || -> &'static str { panic!("the secret is 42") }))
        .route("/never", get(pending::<()>))
        .route("/gate", get(gate))
}

impl Server {
    async fn start(request_timeout: Duration, drain_timeout: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let config = HttpConfig { listen: address, request_timeout, drain_timeout };
        let routes = router(entered.clone(), release.clone());
        let (shared, token) = (health.clone(), shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
        let running = tokio::spawn(http_api::serve(listener, routes, shared, config, token));
        Self { address, health, shutdown, entered, release, running }
    }

    async fn patient() -> Self {
        Self::start(Duration::from_secs(10), Duration::from_secs(8)).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Response {
        Client::new().get(self.url(path)).send().await.unwrap()
    }

    /// Status, headers and body of the answer to these bytes, until the server closes the connection.
    async fn raw(&self, request: &str) -> String {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// The answer is a problem of this status and type.
#[track_caller]
fn check_raw_problem(answer: &str, status: u16, slug: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
    assert!(answer.contains(&format!("\"type\":\"/problems/{slug}\"")), "{answer}");
}

async fn check_problem(response: Response, status: u16, slug: &str) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.status(), status);
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["status"], &body["type"]), (&json!(status), &json!(format!("/problems/{slug}"))));
    body
}

#[tokio::test]
async fn readiness_follows_the_parts_and_liveness_does_not() {
    let server = Server::patient().await;
    let database = server.health.item("database");
    let body = check_problem(server.get("/health/ready").await, 503, "not-ready").await;
    assert_eq!(body["missing"], json!([{ "name": "database", "reason": "starting" }]));
    assert_eq!(server.get("/health/live").await.json::<Value>().await.unwrap(), json!({ "status": "live" }));
    database.up();
    assert_eq!(
        server.get("/health/ready").await.json::<Value>().await.unwrap(),
        json!({ "status": "ready" })
    );
    server.health.note("printer", "out of paper");
    let noted = server.get("/health/ready").await;
    assert_eq!(noted.status(), 200);
    assert_eq!(
        noted.json::<Value>().await.unwrap(),
        json!({ "status": "ready", "notes": { "printer": "out of paper" } })
    );
}

#[tokio::test]
async fn a_path_or_method_that_is_not_there_is_a_problem() {
    let server = Server::patient().await;
    check_problem(server.get("/nowhere").await, 404, "not-found").await;
    let response = server.get("/echo").await;
    assert_eq!(response.headers()["allow"], "POST");
    check_problem(response, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn another_method_on_a_route_for_operators_is_a_problem() {
    let server = Server::patient().await;
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let response = Client::new().post(server.url(path)).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "GET,HEAD", "{path}");
        check_problem(response, 405, "method-not-allowed").await;
    }
    check_problem(server.get("/health").await, 404, "not-found").await;
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = Server::patient().await;
    let ask = async |path: &str, version: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        server.raw(&format!("GET {path} {version}\r\nConnection: close\r\n{hosts}\r\n")).await
    };
    for path in ["/hello", "/nowhere", "/health/live", "/metrics", "http://it/hello"] {
        for hosts in [&[][..], &["it", "it"], &["it", "other"], &["a b"], &["a@b"], &["a/b"], &["a:b:c"]] {
            check_raw_problem(&ask(path, "HTTP/1.1", hosts).await, 400, "malformed");
        }
    }
    for host in ["it", "it:80", "127.0.0.1:8080", "[::1]:80", ""] {
        assert!(ask("/hello", "HTTP/1.1", &[host]).await.starts_with("HTTP/1.1 200 "), "{host:?}");
    }
    assert!(ask("/hello", "HTTP/1.0", &[]).await.starts_with("HTTP/1.0 200 "));
    check_raw_problem(
        &ask("/hello", "HTTP/1.0", &["it", "it"]).await.replacen("1.0", "1.1", 1),
        400,
        "malformed",
    );
}

#[tokio::test]
async fn a_body_that_stalls_is_408() {
    let server = Server::start(Duration::from_millis(20), Duration::from_secs(8)).await;
    let head = "POST /echo HTTP/1.1\r\nHost: it\r\nConnection: close\r\nContent-Type: application/json\r\n";
    for body in [
        "Content-Length: 20\r\n\r\n",
        "Content-Length: 20\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        let answer = server.raw(&format!("{head}{body}")).await;
        check_raw_problem(&answer, 408, "body-timeout");
        assert!(!answer.contains("may have taken effect"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_in_a_shutdown_had_no_effect() {
    let server = Server::start(Duration::from_secs(60), Duration::from_millis(20)).await;
    let head = "POST /echo HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\nContent-Length: 20\r\n";
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
    // The server asks for the body as soon as it waits for it.
    let mut asked = [0; 25];
    client.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.shutdown.cancel();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    check_raw_problem(&answer, 503, "unavailable");
    assert!(answer.contains("had no effect"), "{answer}");
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let server = Server::patient().await;
    let body = check_problem(server.get("/panic").await, 500, "internal").await;
    assert!(!body.to_string().contains("42"), "{body}");
    assert_eq!(server.get("/hello").await.status(), 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504() {
    let server = Server::start(Duration::from_millis(20), Duration::from_secs(8)).await;
    check_problem(server.get("/never").await, 504, "timeout").await;
}

#[tokio::test]
async fn a_body_over_64_kib_is_413() {
    let server = Server::patient().await;
    let post = async |length: usize| {
        let body = Value::from("x".repeat(length - 2));
        Client::new().post(server.url("/echo")).json(&body).send().await.unwrap()
    };
    assert_eq!(post(http_api::server::BODY_LIMIT_BYTES).await.status(), 200);
    check_problem(post(http_api::server::BODY_LIMIT_BYTES + 1).await, 413, "too-large").await;
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_in_flight_and_takes_no_more() {
    let server = Server::patient().await;
    let in_flight = async {
        let response = server.get("/gate").await;
        response.text().await.unwrap()
    };
    let stop = async {
        server.entered.notified().await;
        server.shutdown.cancel();
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        server.release.notify_one();
    };
    let (text, ()) = tokio::join!(in_flight, stop);
    assert_eq!(text, "released");
    server.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_cuts_off_what_does_not_finish() {
    let server = Server::start(Duration::from_secs(60), Duration::from_millis(20)).await;
    let hanging = Client::new().get(server.url("/gate")).send();
    let stop = async {
        server.entered.notified().await;
        server.shutdown.cancel();
    };
    let (response, ()) = tokio::join!(hanging, stop);
    server.running.await.unwrap().unwrap();
    check_problem(response.unwrap(), 503, "unavailable").await;
}

/// The one test that starts telemetry: it can be started once in a process.
#[tokio::test]
async fn requests_are_counted_by_method_route_and_status() {
    let telemetry =
        TelemetryConfig { log_format: LogFormat::Pretty, log_filter: Targets::new(), otlp_endpoint: None };
    let telemetry = runtime::telemetry::init("sample", &telemetry).unwrap();
    let server = Server::patient().await;
    server.get("/hello").await;
    let odd = reqwest::Method::from_bytes(b"BREW").unwrap();
    Client::new().request(odd, server.url("/hello")).send().await.unwrap();
    let text = server.get("/metrics").await.text().await.unwrap();
    for series in [
        r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/hello"} 1"#,
        r#"http_server_request_duration_seconds_count{http_request_method="_OTHER",http_response_status_code="405",http_route="/hello"} 1"#,
        "http_server_active_requests 0",
    ] {
        assert!(text.contains(series), "{series} is not in:\n{text}");
    }
    telemetry.flush().await;
}
