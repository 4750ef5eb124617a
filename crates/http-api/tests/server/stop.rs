//! How a server stops: who is answered still, and who is not.

use std::time::Duration;

use reqwest::Client;
use runtime::config::HttpConfig;
use tokio::net::TcpStream;

use crate::support::{Server, check_problem, check_raw_problem, config, to_end};

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
