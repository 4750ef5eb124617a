//! A processor on a port of its own, and short ways to call it.

use std::{path::Path, time::Duration};

use payment_provider::Config;
use reqwest::{Client, Response};
use runtime::Listeners;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes as long; what does hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running processor.
pub(crate) struct Provider {
    url: String,
    operations_url: String,
    client: Client,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// An answer, read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// On free ports.
pub(crate) async fn listeners() -> Listeners {
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    Listeners { http: bind().await, operations: bind().await }
}

/// A configuration whose silences are short.
pub(crate) fn quick() -> Config {
    let mut config: Config = runtime::config::from_env(|_| None).unwrap();
    config.process.http.shutdown_delay = Duration::ZERO;
    Config {
        hang_duration: Duration::from_millis(20),
        down_duration: Duration::from_millis(300),
        seed: Some(17),
        ..config
    }
}

impl Provider {
    pub(crate) async fn start(config: Config) -> Self {
        let listeners = listeners().await;
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let (url, operations_url) = (url(&listeners.http), url(&listeners.operations));
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        #[expect(clippy::disallowed_methods, reason = "stop awaits it")]
        let running = tokio::spawn(payment_provider::run(config, listeners, token));
        Self { url, operations_url, client: Client::new(), shutdown, running }
    }

    pub(crate) async fn quick() -> Self {
        Self::start(quick()).await
    }

    pub(crate) async fn with_journal(path: &Path) -> Self {
        Self::start(Config { journal_path: Some(path.to_owned()), ..quick() }).await
    }

    /// Stops it, and waits until it has ended.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.unwrap().unwrap().unwrap();
    }

    /// Tells it to stop, without waiting.
    pub(crate) fn cancel(&self) {
        self.shutdown.cancel();
    }

    /// What it tells operators.
    pub(crate) async fn operations(&self, path: &str) -> Received {
        read(self.client.get(format!("{}{path}", self.operations_url)).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Received {
        read(self.client.get(format!("{}{path}", self.url)).send().await.unwrap()).await
    }

    pub(crate) async fn set_faults(&self, faults: Value) -> Received {
        let request = self.client.put(format!("{}/faults", self.url)).json(&faults);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: Option<&Value>) -> Received {
        let mut request = self.client.post(format!("{}{path}", self.url)).timeout(DEADLINE);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn authorize(&self, key: &str, payment_method: &str) -> Received {
        self.post("/v1/authorizations", Some(key), Some(&order(payment_method))).await
    }

    /// Authorizes with a card that approves, and returns the id.
    pub(crate) async fn authorized(&self, key: &str, payment_method: &str) -> String {
        let answer = self.authorize(key, payment_method).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn change(&self, key: &str, id: &str, operation: &str) -> Received {
        self.post(&format!("/v1/authorizations/{id}/{operation}"), Some(key), None).await
    }

    /// The report's total in EUR: held, captured, refunded.
    pub(crate) async fn totals(&self) -> (i64, i64, i64) {
        let report = self.get("/v1/report").await.body;
        let sum = |name: &str| report["totals"]["EUR"][name].as_i64().unwrap_or(0);
        (sum("held_minor"), sum("captured_minor"), sum("refunded_minor"))
    }
}

/// What the tests pay: 5 EUR for order-1.
pub(crate) fn order(payment_method: &str) -> Value {
    json!({
        "merchant_reference": "order-1",
        "amount_minor": 500,
        "currency": "EUR",
        "payment_method": payment_method,
    })
}

async fn read(response: Response) -> Received {
    let status = response.status().as_u16();
    let problem = response.headers()["content-type"] == "application/problem+json";
    assert_eq!(problem, status >= 400);
    Received { status, body: response.json().await.unwrap() }
}

/// Checks status and stable type of a problem.
#[track_caller]
pub(crate) fn check_problem(answer: &Received, status: u16, slug: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.body["type"], format!("/problems/{slug}"));
}
