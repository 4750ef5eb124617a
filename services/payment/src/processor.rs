//! The card processor over HTTP: one call each to hold, take, give back or let go of an order's money.
//!
//! Every call carries an idempotency key of its order, action and number, so that it can be made again until its
//! answer is definite, by a restored database as well. What an answer means is decided in [`answer`]:
//!
//! | answer | authorize | capture | void, refund |
//! |---|---|---|---|
//! | 200, 201, and the authorization is what was asked for | approved | captured | done |
//! | 200, 201, and it is another | disagreement | disagreement | disagreement |
//! | 402 | declined | capture failed | refused |
//! | 401, 403 | denied | denied | denied |
//! | 409 without a `code`, 425, 3xx, a 4xx without a problem | unknown | unknown | unknown |
//! | 408, 429, 5xx, none in time, garbled | trouble | trouble | trouble |
//! | another 4xx, with a problem as its body | refused | refused | refused |
//!
//! A 409 without a code is the same call under way; with one it says what stands in the way.
//!
//! Unknown is never declined: the money may be held. Trouble is unknown, too, and says that the processor itself is
//! not well: its breaker counts nothing else. Denied is about our access: the call is made again.
//!
//! Refused is definite, and says that this call will never succeed. [`Processor::look_up`] asks what the authorization
//! is, and [`found`](lookup::found) decides what follows. So does a call whose outcome is unknown for so long that the
//! processor may forget its key. What that does not settle is parked for an operator, and so is a disagreement.
//!
//! Connecting has a timeout, and so has the whole call, to the last byte of its answer. All its repeats together have
//! none: what became of the money must get known.

use std::time::Duration;

use contracts::{Money, OrderId, PaymentMethod, TraceContext};
use messaging::CausationContext;
use reqwest::{Client, RequestBuilder, StatusCode, header::HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::Instrument;
use url::Url;

use crate::config::ProcessorConfig;
use crate::domain::{Action, Answer, Payment};

use self::authorization::Authorization;

mod authorization;
pub mod lookup;
pub mod resolution;

/// How often a connection that is idle is probed, so that a dead one is not found by a call.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The longest reason that is kept of what the processor says.
const REASON_LENGTH: usize = 200;

#[derive(Debug, Clone)]
pub struct Processor {
    client: Client,
    base: Url,
}

/// How long a key is certainly remembered. A processor remembers one for 24 hours; an hour less, for clocks that differ.
/// An older call is not made again: its outcome is looked up.
pub const KEY_RETENTION: Duration = Duration::from_secs(23 * 60 * 60);
/// The largest answer that is read.
const MAX_BODY: usize = 64 * 1024;

/// A call to the processor, with all that it takes to make it again. Stands in its job as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The processor knows it as the merchant's reference.
    pub order_id: OrderId,
    /// How much is held, or to be held and captured.
    pub amount: Money,
    /// Counts the calls of one action for an order from 1.
    pub number: i32,
    #[serde(flatten)]
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Command {
    Authorize {
        method: PaymentMethod,
    },
    Capture {
        authorization_id: String,
    },
    Void {
        authorization_id: String,
    },
    Refund {
        authorization_id: String,
        /// How much to give back, in minor units.
        refund_minor: i64,
        /// How much was given back before, in minor units.
        refunded_minor: i64,
    },
}

/// A call did not take effect, and never will, with the reason. [`Processor::look_up`] says what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Answer(Answer),
    /// It may have taken effect or not.
    Unknown(String),
    /// The same, and the processor fails.
    Trouble(String),
    /// It did not take effect: the processor does not accept who we are.
    Denied(String),
    /// No call can settle it: the processor says what cannot be, or the call cannot be made.
    Unsettled(String),
}

impl Request {
    /// The call that this action of the payment takes; none when the payment lacks what the call needs.
    pub fn new(action: Action, payment: &Payment) -> Option<Self> {
        let terms = payment.terms.clone()?;
        let authorization_id = payment.authorization_id.clone();
        let moved = payment.moved;
        let number = if action == Action::Refund { moved.refunds + 1 } else { 1 };
        let command = match action {
            Action::Authorize => Command::Authorize { method: terms.method },
            Action::Capture => Command::Capture { authorization_id: authorization_id? },
            Action::Void => Command::Void { authorization_id: authorization_id? },
            Action::Refund => Command::Refund {
                authorization_id: authorization_id?,
                refund_minor: moved.to_refund(),
                refunded_minor: moved.refunded_minor,
            },
        };
        Some(Self { order_id: payment.order_id, amount: terms.amount, number, command })
    }

    pub fn action(&self) -> Action {
        match self.command {
            Command::Authorize { .. } => Action::Authorize,
            Command::Capture { .. } => Action::Capture,
            Command::Void { .. } => Action::Void,
            Command::Refund { .. } => Action::Refund,
        }
    }

    /// The processor's id for the hold; none before there is one.
    pub fn authorization_id(&self) -> Option<&str> {
        match &self.command {
            Command::Authorize { .. } => None,
            Command::Capture { authorization_id }
            | Command::Void { authorization_id }
            | Command::Refund { authorization_id, .. } => Some(authorization_id),
        }
    }

    /// How much the call captures or gives back; that of the authorization for the others.
    pub fn to_move(&self) -> Money {
        let amount_minor = match self.command {
            Command::Refund { refund_minor, .. } => refund_minor,
            _ => self.amount.amount_minor,
        };
        Money { amount_minor, ..self.amount.clone() }
    }

    /// The same for the same call for the same order, however often it is made and from whatever database.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}:{}", self.order_id, self.action(), self.number)
    }
}

/// What is of use in a problem of the processor.
#[derive(Default, Deserialize)]
struct Refusal {
    code: Option<String>,
    title: Option<String>,
}

impl Processor {
    /// A client that keeps its connections.
    pub fn new(config: &ProcessorConfig) -> reqwest::Result<Self> {
        let client = Client::builder()
            .timeout(config.call_timeout)
            .connect_timeout(config.call_connect_timeout)
            .tcp_keepalive(KEEPALIVE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("payment/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, base: config.payment_provider_url.clone() })
    }

    /// Makes the call once. `trace` goes with it where this process does not trace itself.
    pub async fn call(&self, request: &Request, trace: &TraceContext) -> Result<Reply, Refused> {
        let span = tracing::info_span!(
            "payment.call",
            otel.kind = "client",
            otel.name = match request.action() {
                Action::Authorize => "POST /v1/authorizations".to_owned(),
                action => format!("POST /v1/authorizations/{{id}}/{action}"),
            },
            http.request.method = "POST",
            server.address = self.base.host_str(),
            server.port = self.base.port_or_known_default(),
            http.response.status_code = tracing::field::Empty,
        );
        self.send(request, trace).instrument(span).await
    }

    async fn send(&self, request: &Request, trace: &TraceContext) -> Result<Reply, Refused> {
        match self.exchange(with_trace(self.http_request(request), trace)).await {
            Ok((status, body)) => answer(request, status, &body),
            Err(reply) => Ok(reply),
        }
    }

    /// Asks what became of the authorization that a call is about, and says what that means for the call; `why` it is
    /// asked becomes the reason of a declined authorization or a failed capture.
    pub async fn look_up(&self, request: &Request, why: &str) -> Reply {
        let mut url = self.authorizations(request.authorization_id().as_slice());
        if request.authorization_id().is_none() {
            url.query_pairs_mut().append_pair("merchant_reference", &request.order_id.to_string());
        }
        match self.exchange(self.client.get(url)).await {
            Ok((status, body)) => lookup::found(request, why, status, &body),
            Err(reply) => reply,
        }
    }

    /// Sends a request and reads its answer, up to the largest.
    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Reply> {
        let mut response = request.send().await.map_err(|error| describe(&error))?;
        let status = response.status();
        tracing::Span::current().record("http.response.status_code", status.as_u16());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Reply::Trouble(format!(
                    "{status}, and its body is larger than {MAX_BODY} bytes"
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }

    fn http_request(&self, request: &Request) -> RequestBuilder {
        let Money { amount_minor, currency } = request.to_move();
        let (url, body) = match &request.command {
            Command::Authorize { method } => (
                self.authorizations(&[]),
                Some(json!({
                    "merchant_reference": request.order_id,
                    "amount_minor": amount_minor,
                    "currency": currency,
                    "payment_method": method,
                })),
            ),
            Command::Void { authorization_id } => (self.authorizations(&[authorization_id, "void"]), None),
            Command::Capture { authorization_id } | Command::Refund { authorization_id, .. } => (
                self.authorizations(&[authorization_id, request.action().into_str()]),
                Some(json!({ "amount_minor": amount_minor, "currency": currency })),
            ),
        };
        let http = self.client.post(url).header("idempotency-key", request.idempotency_key());
        match body {
            Some(body) => http.json(&body),
            None => http,
        }
    }

    /// The address of what lies below the authorizations.
    fn authorizations(&self, below: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "authorizations"]).extend(below);
        }
        url
    }
}

/// What a complete answer means for the call.
pub fn answer(request: &Request, status: StatusCode, body: &[u8]) -> Result<Reply, Refused> {
    let action = request.action();
    if let (Action::Authorize, 200 | 201) | (_, 200) = (action, status.as_u16()) {
        return Ok(match strict_json::from_slice::<Authorization>(body) {
            Ok(authorization) => authorization.settles(request),
            Err(error) => Reply::Trouble(format!("{status}, but its body is no authorization: {error}")),
        });
    }
    let refusal = Refusal::of(body);
    let (has_code, is_stated) = (refusal.code.is_some(), refusal.is_stated());
    let reason = refusal.reason(status);
    Ok(match (action, status.as_u16()) {
        (Action::Authorize, 402) => Reply::Answer(Answer::Declined { reason }),
        (Action::Capture, 402) => Reply::Answer(Answer::CaptureFailed { reason }),

        // Late, too many, or broken: the same call may well succeed, and so may no other.
        (_, 408 | 429 | 500..=599) => Reply::Trouble(reason),
        // Too early, or the same call is under way; a 409 with a code says what stands in the way.
        (_, 425) => Reply::Unknown(reason),
        (_, 409) if !has_code => Reply::Unknown(reason),
        (_, 401 | 403) => Reply::Denied(reason),
        // A 4xx that says nothing may come from anything on the way.
        (_, 400..=499) if is_stated => return Err(Refused(reason)),
        _ => Reply::Unknown(reason),
    })
}

impl Refusal {
    fn of(body: &[u8]) -> Self {
        strict_json::from_slice(body).unwrap_or_default()
    }

    /// Whether the body says why a call was refused.
    fn is_stated(&self) -> bool {
        self.code.is_some() || self.title.is_some()
    }

    /// The processor's own word for why, or else its title, or else the status.
    fn reason(self, status: StatusCode) -> String {
        let text =
            self.code.or(self.title).filter(|text| !text.is_empty()).unwrap_or_else(|| status.to_string());
        text.chars().filter(|character| !character.is_control()).take(REASON_LENGTH).collect()
    }
}

/// Adds the trace context (W3C) of the current span, or the given one where no span is traced.
fn with_trace(request: RequestBuilder, given: &TraceContext) -> RequestBuilder {
    let current = CausationContext::current().trace;
    let trace = if current.traceparent.is_some() { &current } else { given };
    let fields = [("traceparent", &trace.traceparent), ("tracestate", &trace.tracestate)];
    let valid = |value: &Option<String>| HeaderValue::from_str(value.as_deref()?).ok();
    fields.into_iter().fold(request, |request, (name, value)| match valid(value) {
        Some(value) => request.header(name, value),
        None => request,
    })
}

/// Why there was no answer, down to the system's own word, without the address. A request that cannot be built says
/// nothing about the processor, and no repeat of it can be sent.
fn describe(error: &reqwest::Error) -> Reply {
    if error.is_timeout() {
        return Reply::Trouble("no answer in time".to_owned());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_builder() {
        return Reply::Unsettled(format!("the call cannot be made: {cause}"));
    }
    Reply::Trouble(format!("no answer: {cause}"))
}

#[cfg(test)]
mod tests;
