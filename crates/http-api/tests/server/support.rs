//! A server with a few routes on a port of its own, and ways to speak to it.

use std::{future::pending, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use http_api::Json;
use reqwest::{Client, Response};
use runtime::{Listeners, config::HttpConfig, health::Health};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where it serves health and metrics.
    pub(crate) operations: SocketAddr,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    /// Tells that a request to `/gate` is in its handler.
    pub(crate) entered: Arc<Notify>,
    /// Has one request to `/gate` answered.
    pub(crate) release: Arc<Notify>,
    pub(crate) running: JoinHandle<anyhow::Result<()>>,
}

/// The limits that a service has by default, but that it stops without a delay.
pub(crate) fn config() -> HttpConfig {
    let config: Config = runtime::config::from_env(|_| None).unwrap();
    HttpConfig { shutdown_delay: Duration::ZERO, ..config.http }
}

#[derive(clap::Parser)]
struct Config {
    #[command(flatten)]
    http: HttpConfig,
}

fn router(entered: Arc<Notify>, release: Arc<Notify>) -> Router {
    let gate = async move || {
        entered.notify_one();
        release.notified().await;
        "released"
    };
    let one_at_a_time = Router::new()
        .route("/one/echo", post(async |Json(body): Json<Value>| Json(body)))
        .route("/one/hello", get(async || "hello"));
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |Json(body): Json<Value>| Json(body)))
        .route("/panic", get(async || -> &'static str { panic!("the secret is 42") }))
        .route("/never", get(pending::<()>))
        .route("/gate", get(gate))
        .merge(http_api::admit(one_at_a_time, 1))
}

impl Server {
    pub(crate) async fn start(config: HttpConfig) -> Self {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listeners = Listeners { http: bind().await, operations: bind().await };
        let address = listeners.http.local_addr().unwrap();
        let operations = listeners.operations.local_addr().unwrap();
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let routes = router(entered.clone(), release.clone());
        let (shared, token) = (health.clone(), shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
        let running = tokio::spawn(http_api::serve(listeners, routes, shared, config, token));
        Self { address, operations, health, shutdown, entered, release, running }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        Client::new().get(self.url(path)).send().await.unwrap()
    }

    /// What it tells operators.
    pub(crate) async fn operations(&self, path: &str) -> Response {
        Client::new().get(format!("http://{}{path}", self.operations)).send().await.unwrap()
    }

    /// A connection on which this has been sent.
    pub(crate) async fn send(&self, text: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(text.as_bytes()).await.unwrap();
        client
    }

    /// Status, headers and body of the answer to these bytes, until the server closes the connection.
    pub(crate) async fn raw(&self, request: &str) -> String {
        to_end(self.send(request).await).await
    }

    /// A connection on which a request to that path is under way: the server waits for the rest of its body.
    pub(crate) async fn begin_body(&self, path: &str) -> TcpStream {
        let head = format!("POST {path} HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\n");
        let expect = "Content-Length: 20\r\nExpect: 100-continue\r\n\r\n";
        let mut client = self.send(&format!("{head}{expect}")).await;
        // The server asks for the body as soon as it waits for it.
        let mut asked = [0; 25];
        client.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        client
    }
}

/// What comes until the server closes the connection.
pub(crate) async fn to_end(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Sends a byte every 50 ms until the server answers or closes the connection; gives what it has answered.
pub(crate) async fn trickle(client: &mut TcpStream, bytes: &[u8]) -> String {
    let mut answer = [0; 1_024];
    for byte in bytes {
        if let Ok(count) = timeout(Duration::from_millis(50), client.read(&mut answer)).await {
            return String::from_utf8_lossy(&answer[..count.unwrap_or(0)]).into_owned();
        }
        // Where the server has just closed the connection, the next read tells.
        let _ = client.write_all(&[*byte]).await;
    }
    panic!("the server took {} bytes, each 50 ms after the one before", bytes.len());
}

/// Asserts that the server sends nothing for that time, and keeps the connection.
pub(crate) async fn gets_nothing_for(client: &mut TcpStream, time: Duration) {
    let answered = timeout(time, client.read(&mut [0; 1])).await;
    assert!(answered.is_err(), "{answered:?}");
}

/// The answer is a problem of this status and type.
#[track_caller]
pub(crate) fn check_raw_problem(answer: &str, status: u16, slug: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
    assert!(answer.contains(&format!("\"type\":\"/problems/{slug}\"")), "{answer}");
}

pub(crate) async fn check_problem(response: Response, status: u16, slug: &str) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.status(), status);
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["status"], &body["type"]), (&json!(status), &json!(format!("/problems/{slug}"))));
    body
}
