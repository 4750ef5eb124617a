//! How a server stops: who is answered still, and who is not.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use runtime::config::HttpConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Server, check_problem, check_raw_problem, config, to_end};

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: it\r\n\r\n";

#[tokio::test]
async fn a_server_that_stops_is_not_ready_and_accepts_for_its_delay() {
    let delay = Duration::from_secs(2);
    let server = Server::start(HttpConfig { shutdown_delay: delay, ..config() }).await;
    assert_eq!(server.operations("/health/ready").await.status(), 200);
    let begun = Instant::now();
    server.shutdown.cancel();
    let said = check_problem(server.operations("/health/ready").await, 503, "not-ready").await;
    assert!(said.to_string().contains("the service is stopping"), "{said}");
    for _ in 0..20 {
        let answer = server.get("/hello").await;
        assert_eq!(
            (answer.status(), answer.headers()["connection"].as_bytes()),
            (StatusCode::OK, &b"close"[..])
        );
    }
    server.running.await.unwrap().unwrap();
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_is_kept_ends_with_its_next_answer() {
    let server = Server::start(HttpConfig { shutdown_delay: Duration::from_secs(3), ..config() }).await;
    let mut client = server.send(HELLO).await;
    let mut answer = [0; 1_024];
    let count = client.read(&mut answer).await.unwrap();
    assert!(answer[..count].ends_with(b"hello"), "it is answered and stays open");
    server.shutdown.cancel();
    client.write_all(HELLO.as_bytes()).await.unwrap();
    let last = to_end(client).await;
    assert!(last.starts_with("HTTP/1.1 200 ") && last.contains("\r\nconnection: close\r\n"), "{last}");
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_stop() {
    let server = Server::start(config()).await;
    let mut client = server.send(HELLO).await;
    assert!(client.read(&mut [0; 1_024]).await.unwrap() > 0);
    let begun = Instant::now();
    server.shutdown.cancel();
    server.running.await.unwrap().unwrap();
    assert!(begun.elapsed() < config().drain_timeout, "{:?}", begun.elapsed());
    assert_eq!(to_end(client).await, "");
}

#[tokio::test]
async fn a_head_under_way_is_answered_in_a_shutdown() {
    let server = Server::start(config()).await;
    let (begin, rest) = HELLO.split_at(10);
    // One on a new connection, one on a connection that was kept.
    let new = server.send(begin).await;
    let mut kept = server.send(HELLO).await;
    assert!(kept.read(&mut [0; 1_024]).await.unwrap() > 0);
    kept.write_all(begin.as_bytes()).await.unwrap();
    // Both have been read when a later request is answered.
    assert_eq!(server.get("/hello").await.status(), 200);
    server.shutdown.cancel();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for mut client in [new, kept] {
        client.write_all(rest.as_bytes()).await.unwrap();
        let answer = to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_connected_when_the_server_stops_is_answered() {
    let server = Server::start(config()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.send("").await);
    }
    server.shutdown.cancel();
    for mut client in clients {
        client.write_all(HELLO.as_bytes()).await.unwrap();
        let answer = to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    server.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_in_flight_and_takes_no_more() {
    let server = Server::start(config()).await;
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
    let server = Server::start(HttpConfig { drain_timeout: Duration::from_millis(20), ..config() }).await;
    let hanging = Client::new().get(server.url("/gate")).send();
    let stop = async {
        server.entered.notified().await;
        server.shutdown.cancel();
    };
    let (response, ()) = tokio::join!(hanging, stop);
    server.running.await.unwrap().unwrap();
    check_problem(response.unwrap(), 503, "unavailable").await;
}

#[tokio::test]
async fn a_body_that_stalls_in_a_shutdown_had_no_effect() {
    let server = Server::start(HttpConfig { drain_timeout: Duration::from_millis(20), ..config() }).await;
    let client = server.begin_body("/echo").await;
    server.shutdown.cancel();
    let answer = to_end(client).await;
    check_raw_problem(&answer, 503, "unavailable");
    assert!(answer.contains("had no effect"), "{answer}");
}
