//! The common behaviour of every service's HTTP server, over real connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod limits;
mod stop;
mod support;

use std::time::Duration;

use reqwest::{Client, Response};
use runtime::config::HttpConfig;
use serde_json::{Value, json};

use crate::support::{Server, check_problem, check_raw_problem, config};

#[tokio::test]
async fn a_server_is_ready_with_its_database_alone() {
    let server = Server::start(config()).await;
    let (database, relay) = (server.health.item("database"), server.health.item("relay"));
    let body = check_problem(server.operations("/health/ready").await, 503, "not-ready").await;
    assert_eq!(body["detail"], "database: starting");
    assert_eq!(json_of(server.operations("/health/live").await).await, json!({ "status": "live" }));
    database.up();
    relay.down("the broker is unavailable");
    assert_eq!(json_of(server.operations("/health/ready").await).await, json!({ "status": "ready" }));
    server.health.stop();
    let body = check_problem(server.operations("/health/ready").await, 503, "not-ready").await;
    assert_eq!(body["detail"], "the service is stopping");
}

#[tokio::test]
async fn every_part_is_shown_with_its_state_and_every_note() {
    let server = Server::start(config()).await;
    let (database, relay) = (server.health.item("database"), server.health.item("relay"));
    database.up();
    relay.down("the broker is unavailable");
    server.health.note("printer", "out of paper");
    let body = check_problem(server.operations("/health/parts").await, 503, "parts-missing").await;
    assert_eq!(body["detail"], "relay: the broker is unavailable");
    let down = json!({ "state": "down", "reason": "the broker is unavailable" });
    assert_eq!(body["parts"], json!({ "database": { "state": "up" }, "relay": down }));
    assert_eq!(body["notes"], json!({ "printer": "out of paper" }));
    relay.up();
    let parts = json!({ "database": { "state": "up" }, "relay": { "state": "up" } });
    assert_eq!(
        json_of(server.operations("/health/parts").await).await,
        json!({ "status": "up", "parts": parts, "notes": { "printer": "out of paper" } })
    );
}

#[tokio::test]
async fn clients_see_neither_health_nor_metrics() {
    let server = Server::start(config()).await;
    for path in ["/health/live", "/health/ready", "/health/parts", "/metrics"] {
        check_problem(server.get(path).await, 404, "not-found").await;
    }
}

async fn json_of(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

#[tokio::test]
async fn a_path_or_method_that_is_not_there_is_a_problem() {
    let server = Server::start(config()).await;
    check_problem(server.get("/nowhere").await, 404, "not-found").await;
    let response = server.get("/echo").await;
    assert_eq!(response.headers()["allow"], "POST");
    check_problem(response, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn another_method_on_a_route_for_operators_is_a_problem() {
    let server = Server::start(config()).await;
    for path in ["/health/live", "/health/ready", "/health/parts", "/metrics"] {
        let url = format!("http://{}{path}", server.operations);
        let response = Client::new().post(url).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "GET,HEAD", "{path}");
        check_problem(response, 405, "method-not-allowed").await;
    }
    check_problem(server.operations("/health").await, 404, "not-found").await;
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = Server::start(config()).await;
    let ask = async |path: &str, version: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        server.raw(&format!("GET {path} {version}\r\nConnection: close\r\n{hosts}\r\n")).await
    };
    for path in ["/hello", "/nowhere", "http://it/hello"] {
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
async fn a_panic_is_a_500_that_tells_nothing() {
    let server = Server::start(config()).await;
    let body = check_problem(server.get("/panic").await, 500, "internal").await;
    assert!(!body.to_string().contains("42"), "{body}");
    assert_eq!(server.get("/hello").await.status(), 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_504() {
    let server = Server::start(HttpConfig { request_timeout: Duration::from_millis(20), ..config() }).await;
    check_problem(server.get("/never").await, 504, "timeout").await;
}
