//! The HTTP server around a service's routes: what every answer of the system has in common.

mod body;
mod connections;
mod head;
mod observe;
mod operations;

use std::{any::Any, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, Version, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use runtime::{Listeners, config::HttpConfig, error::panic_message, health::Health};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::{body::BODY_LIMIT_BYTES, observe::DURATION_BOUNDARIES};

use self::body::Bodies;
use crate::Problem;

/// How long clients have to take the answer to a request that was cut off.
const CUT_OFF_ANSWER: Duration = Duration::from_millis(500);

/// How much longer than a request may take a connection may be silent. It is longer than clients keep one that they do
/// not use (90 s by default, with hyper's), so that none finds its next request on a connection that is just closed.
const SILENCE: Duration = Duration::from_secs(110);

/// Serves `router` until the shutdown. From then on it is not ready, and answers with `Connection: close`. It accepts
/// requests for the shutdown delay, until every client has noticed, and then finishes those in flight. At most 4,096
/// connections are open.
///
/// Health and metrics have a listener of their own, which answers while the other is full or stops.
///
/// Adds to the router: limits of time and size for a head (a closed connection, 431) and for a body (408, 413), which is
/// complete before the router gets the request; a time limit (504); a request without its host (400), 404, 405 and panics
/// (500) as problems; a span and metrics for each request.
pub async fn serve(
    listeners: Listeners,
    router: Router,
    health: Health,
    config: HttpConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    connections::allow_files();
    serve_up_to(connections::OPEN, listeners, router, health, config, shutdown).await;
    Ok(())
}

/// The same with so many connections of clients.
async fn serve_up_to(
    open: usize,
    listeners: Listeners,
    router: Router,
    health: Health,
    config: HttpConfig,
    shutdown: CancellationToken,
) {
    let (stop, cut_off) = (CancellationToken::new(), CancellationToken::new());
    let app = with_common_behaviour(router, &config, &cut_off)
        .layer(middleware::from_fn_with_state(shutdown.clone(), close_in_a_shutdown));
    let limits =
        connections::Limits { open, head: config.read_timeout, silence: config.request_timeout + SILENCE };
    let operations = connections::Limits { open: connections::OPERATIONS_OPEN, ..limits };
    let operations = connections::serve(
        listeners.operations,
        operations::router(health.clone()),
        operations,
        CancellationToken::new(),
    );
    let overdue = async {
        shutdown.cancelled().await;
        health.stop();
        tokio::time::sleep(config.shutdown_delay).await;
        stop.cancel();
        tokio::time::sleep(config.drain_timeout).await;
        cut_off.cancel();
        tokio::time::sleep(CUT_OFF_ANSWER).await;
    };
    tokio::select! {
        () = connections::serve(listeners.http, app, limits, stop.clone()) => {}
        () = operations => {}
        () = overdue => tracing::warn!("connections that did not take their answer were dropped"),
    }
}

fn with_common_behaviour(router: Router, config: &HttpConfig, cut_off: &CancellationToken) -> Router {
    let limits = Limits { request: config.request_timeout, cut_off: cut_off.clone() };
    let bodies = Bodies::new(config.read_timeout, cut_off.clone());
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(limits, limit_time))
        .layer(middleware::from_fn_with_state(bodies, body::read_first))
        .layer(middleware::from_fn(require_host))
        .layer(middleware::from_fn_with_state(observe::Metrics::new(), observe::observe))
}

#[derive(Clone)]
struct Limits {
    request: Duration,
    cut_off: CancellationToken,
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format_args!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
        .detail(format_args!("{} does not take {method}", uri.path()))
}

/// Refuses a request that does not name its host, or names several (RFC 9112, section 3.2). HTTP/1.0 has no such rule
/// for a request that names none.
async fn require_host(request: Request, next: Next) -> Result<Response, Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    let is_valid =
        |text: &[u8]| text.is_empty() || (!text.contains(&b'@') && Authority::try_from(text).is_ok());
    match host {
        None if request.version() == Version::HTTP_11 => {
            Err(Problem::malformed("the request has no Host header: send the host and port of the URL"))
        }
        Some(_) if another.is_some() => Err(Problem::malformed("send one Host header, not several")),
        Some(host) if !is_valid(host.as_bytes()) => {
            Err(Problem::malformed("the Host header is not a host with or without a port"))
        }
        _ => Ok(next.run(request).await),
    }
}

/// Drops the handler when its time is over, or when the service cannot wait for it any longer.
async fn limit_time(State(limits): State<Limits>, request: Request, next: Next) -> Result<Response, Problem> {
    const DOUBT: &str = "it may have taken effect or not: repeat it with the same Idempotency-Key";
    let late = || Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long");
    tokio::select! {
        response = next.run(request) => Ok(response),
        () = tokio::time::sleep(limits.request) => Err(late().detail(DOUBT)),
        () = limits.cut_off.cancelled() => Err(Problem::unavailable(Duration::from_secs(1)).detail(DOUBT)),
    }
}

/// Tells a client of a service that stops to send its next request over another connection, which then ends elsewhere.
async fn close_in_a_shutdown(
    State(shutdown): State<CancellationToken>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    if shutdown.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is CatchPanicLayer's")]
fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = panic_message(&*payload).unwrap_or("without a message");
    Problem::internal(format_args!("panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use clap::Parser;
    use reqwest::Client;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[derive(Parser)]
    struct Config {
        #[command(flatten)]
        http: HttpConfig,
    }

    #[tokio::test]
    async fn operators_are_answered_while_clients_hold_every_connection() {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listeners = Listeners { http: bind().await, operations: bind().await };
        let http = listeners.http.local_addr().expect("an address");
        let operations = listeners.operations.local_addr().expect("an address");
        let config: Config = runtime::config::from_env(|_| None).expect("defaults");
        let router = Router::new().route("/", get(async || "here"));
        let clients = async {
            let _held = (TcpStream::connect(http).await.expect("connects"), TcpStream::connect(http).await);
            let client = Client::builder().timeout(Duration::from_secs(1)).build().expect("a client");
            assert!(client.get(format!("http://{http}/")).send().await.is_err_and(|it| it.is_timeout()));
            for path in ["/health/live", "/health/ready", "/health/parts", "/metrics"] {
                let answer = client.get(format!("http://{operations}{path}")).send().await;
                assert_eq!(answer.expect("an answer").status(), StatusCode::OK, "{path}");
            }
        };
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        tokio::select! {
            () = serve_up_to(2, listeners, router, health, config.http, shutdown) => unreachable!("it serves for good"),
            () = clients => {}
        }
    }
}
