//! What a client may not do: send too much, or too slowly.

use std::time::{Duration, Instant};

use reqwest::Client;
use runtime::config::HttpConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Server, check_problem, check_raw_problem, config, gets_nothing_for, to_end, trickle};

const HELLO: &[u8] = b"GET /hello HTTP/1.1\r\nHost: it\r\n\r\n";
/// A head that takes 10 s at 50 ms for each byte.
const LONG: &[u8] = &[b'x'; 200];
/// The time limit of a head, and of a body.
const LIMIT: Duration = Duration::from_millis(300);

fn hasty() -> HttpConfig {
    HttpConfig { read_timeout: LIMIT, ..config() }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off_at_its_limit() {
    let server = Server::start(hasty()).await;
    let begun = Instant::now();
    let mut client = server.send("").await;
    assert_eq!(trickle(&mut client, LONG).await, "", "half a request gets no answer");
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_cut_off_at_the_limit_of_a_head() {
    let server = Server::start(hasty()).await;
    let begun = Instant::now();
    let client = server.send("").await;
    assert_eq!(to_end(client).await, "");
    assert!((LIMIT..Duration::from_mins(1)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_idle_connection_outlives_the_limit_and_its_next_head_does_not() {
    let server = Server::start(hasty()).await;
    let mut client = server.send("").await;
    let mut answer = [0; 1_024];
    for _ in 0..2 {
        client.write_all(HELLO).await.unwrap();
        let count = client.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        gets_nothing_for(&mut client, 2 * LIMIT).await;
    }
    let begun = Instant::now();
    assert_eq!(trickle(&mut client, LONG).await, "");
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_head_over_16_kib_is_431() {
    let server = Server::start(config()).await;
    let ask = async |length: usize| {
        let head = "GET /hello HTTP/1.1\r\nHost: it\r\nConnection: close\r\nX-Long: ";
        let long = "x".repeat(length - head.len() - "\r\n\r\n".len());
        server.raw(&format!("{head}{long}\r\n\r\n")).await
    };
    assert!(ask(16 * 1_024).await.starts_with("HTTP/1.1 200 "));
    assert!(ask(16 * 1_024 + 1).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_body_that_trickles_is_408_at_its_limit() {
    let server = Server::start(hasty()).await;
    let head =
        "POST /echo HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\nContent-Length: 201\r\n\r\n";
    let begun = Instant::now();
    let mut client = server.send(head).await;
    let answer = trickle(&mut client, LONG).await;
    check_raw_problem(&answer, 408, "body-timeout");
    assert!(answer.contains("it had no effect"), "{answer}");
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_stalls_is_408() {
    let server = Server::start(hasty()).await;
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
async fn a_body_under_way_holds_none_of_the_places() {
    let server = Server::start(config()).await;
    let slow = server.begin_body("/one/echo").await;
    // There is one place.
    assert_eq!(server.get("/one/hello").await.status(), 200);
    drop(slow);
}

#[tokio::test]
async fn a_handler_has_its_whole_time_after_a_late_body() {
    let request_timeout = Duration::from_millis(500);
    let server = Server::start(HttpConfig { request_timeout, ..config() }).await;
    let mut client = server.begin_body("/echo").await;
    gets_nothing_for(&mut client, 2 * request_timeout).await;
    client.write_all(b"\"the rest comes la\"\n").await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_body_over_64_kib_is_413() {
    let server = Server::start(config()).await;
    let post = async |length: usize| {
        let body = Value::from("x".repeat(length - 2));
        Client::new().post(server.url("/echo")).json(&body).send().await.unwrap()
    };
    assert_eq!(post(http_api::server::BODY_LIMIT_BYTES).await.status(), 200);
    check_problem(post(http_api::server::BODY_LIMIT_BYTES + 1).await, 413, "too-large").await;
}

#[tokio::test]
async fn a_body_in_pieces_over_64_kib_is_413() {
    let server = Server::start(config()).await;
    let head = "POST /echo HTTP/1.1\r\nHost: it\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let pieces = format!("1000\r\n{}\r\n", " ".repeat(4_096)).repeat(16);
    let request = format!("{head}Transfer-Encoding: chunked\r\n\r\n{pieces}1\r\n1\r\n0\r\n\r\n");
    check_raw_problem(&server.raw(&request).await, 413, "too-large");
}
