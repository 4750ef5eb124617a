//! A service that runs in this process, and requests to it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::sync::{Arc, OnceLock};

use clap::Parser;
use reqwest::{Method, RequestBuilder};
use runtime::Listeners;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::wait::eventually;

/// Environment variables of a service.
pub type Env = HashMap<String, String>;

/// A service that runs in this process.
#[derive(Debug)]
pub struct Running {
    /// Where it serves HTTP, with no slash at the end.
    pub url: String,
    /// Where it serves health and metrics.
    pub operations_url: String,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    failure: Arc<OnceLock<String>>,
}

impl Running {
    /// Starts a service on a port of its own, by its `run`.
    ///
    /// # Panics
    /// When its configuration is refused.
    pub async fn start<C, F, Fut>(env: &Env, run: F) -> Self
    where
        C: Parser,
        F: FnOnce(C, Listeners, CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        Self::serve(|listeners, shutdown| {
            Ok(run(runtime::config::from_env(lookup(env))?, listeners, shutdown))
        })
        .await
    }

    /// Serves on a port of its own what `start` makes of it.
    ///
    /// # Panics
    /// When its configuration is refused.
    pub async fn serve<Fut>(
        start: impl FnOnce(Listeners, CancellationToken) -> Result<Fut, clap::Error>,
    ) -> Self
    where
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let listeners = Listeners { http: bind().await, operations: bind().await };
        let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("an address"));
        let (url, operations_url) = (url(&listeners.http), url(&listeners.operations));
        let shutdown = CancellationToken::new();
        let running = start(listeners, shutdown.clone()).unwrap_or_else(|error| panic!("{error}"));
        let failure = Arc::<OnceLock<String>>::default();
        let noted = failure.clone();
        let task = spawn(async move {
            running.await.inspect_err(|error| {
                let _ = noted.set(format!("{error:#}"));
            })
        });
        Self { url, operations_url, shutdown, task, failure }
    }

    /// Stops it as SIGTERM would, and gives back how it ended.
    ///
    /// # Panics
    /// When it panicked.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.task.await.expect("no panic")
    }

    /// Stops it as SIGTERM would, and leaves its place to a successor.
    ///
    /// # Panics
    /// When it fails or panics.
    pub async fn halt(&mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.expect("no panic").expect("it stops without a failure");
    }

    /// Ends it as `kill -9` would: nothing is finished, nothing is flushed.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Waits for it to end by itself, and gives back how.
    ///
    /// # Panics
    /// When it panicked.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.task.await.expect("no panic")
    }

    /// Waits until all of its parts are up.
    ///
    /// # Panics
    /// When it ended.
    pub async fn ready(&self) {
        eventually("every part", async || {
            assert!(!self.task.is_finished(), "it ended: {:?}", self.failure.get());
            let parts = reqwest::get(format!("{}/health/parts", self.operations_url)).await;
            let response = parts.map_err(|error| error.to_string())?;
            if response.status() == 200 { Ok(()) } else { Err(response.text().await.unwrap_or_default()) }
        })
        .await;
    }

    /// Status and JSON body of what it tells operators, such as `/health/ready`.
    pub async fn operations(&self, path: &str) -> (u16, Value) {
        answer(reqwest::Client::new().get(format!("{}{path}", self.operations_url))).await
    }

    /// A request to it.
    ///
    /// # Panics
    /// When there is no such method.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().expect("a method");
        reqwest::Client::new().request(method, format!("{}{path}", self.url))
    }

    /// A POST under an idempotency key of its own.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request("POST", path).header("idempotency-key", runtime::clock::new_id().to_string())
    }

    /// Status and JSON body of a request without a body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request("GET", path)).await
    }
}

/// Finds variables in `env`, and nowhere else. A service stops without a delay unless `env` says otherwise: no balancer
/// stands before it that must notice.
pub fn lookup(env: &Env) -> impl Fn(&OsStr) -> Option<OsString> {
    |name| {
        let found = name.to_str().and_then(|name| env.get(name)).map(OsString::from);
        found.or_else(|| (name == "HTTP_SHUTDOWN_DELAY").then(|| "0ms".into()))
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's runtime is the owner, and ends it")]
fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// Sends a request and gives status and JSON body; null for a body that is no JSON.
///
/// # Panics
/// When nobody answers.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.bytes().await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// The same as a good client does, which comes again while the service is busy.
///
/// # Panics
/// When nobody answers.
pub async fn patient_answer(request: RequestBuilder) -> (u16, Value) {
    eventually("an answer other than 503", async || {
        let (status, body) = answer(request.try_clone().expect("a body in memory")).await;
        if status == 503 { Err(body) } else { Ok((status, body)) }
    })
    .await
}
