//! The card processor over HTTP: one call each to hold, take, give back or let go of an order's money.
//!
//! Every call carries an idempotency key of its payment and action, so that it can be made again until its
//! answer is definite. What an answer means is decided in [`read`].
//!
//! Unknown is never declined: the money may be held. Trouble is unknown, too, and says that the processor itself is
//! not well: its breaker counts nothing else. Refused is no answer that the payment can live with (money
//! would stay where it does not belong, or every card would be declined): the call is made again, and a person is
//! told.
//!
//! Connecting has a timeout, and so has the whole call, to the last byte of its answer. All its repeats together have
//! none: what became of the money must get known.

use std::time::Duration;

use contracts::{Money, OrderId, PaymentMethod, TraceContext};
use messaging::CausationContext;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use url::Url;
use uuid::Uuid;

use crate::config::ProcessorConfig;
use crate::domain::{Action, Answer, Payment};

/// How often a connection that is idle is probed, so that a dead one is not found by a call.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The longest reason that is kept of what the processor says.
const REASON_LENGTH: usize = 200;

#[derive(Debug, Clone)]
pub struct Processor {
    client: Client,
    base: Url,
}

/// A call to the processor, with all that it takes to make it again. Stands in its job as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The payment; with the action, the idempotency key.
    pub payment_id: Uuid,
    #[serde(flatten)]
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Command {
    /// The processor knows the order as the merchant's reference.
    Authorize {
        order_id: OrderId,
        amount: Money,
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
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Answer(Answer),
    /// It may have taken effect or not.
    Unknown(String),
    /// The same, and the processor fails.
    Trouble(String),
    /// It did not take effect, and the processor does not want it to.
    Refused(String),
}

impl Request {
    /// The call that this action of the payment takes; none when the payment lacks what the call needs.
    pub fn new(action: Action, payment: &Payment) -> Option<Self> {
        let authorization_id = payment.authorization_id.clone();
        let command = match action {
            Action::Authorize => {
                let terms = payment.terms.clone()?;
                Command::Authorize { order_id: payment.order_id, amount: terms.amount, method: terms.method }
            }
            Action::Capture => Command::Capture { authorization_id: authorization_id? },
            Action::Void => Command::Void { authorization_id: authorization_id? },
            Action::Refund => Command::Refund { authorization_id: authorization_id? },
        };
        Some(Self { payment_id: payment.payment_id, command })
    }

    pub fn action(&self) -> Action {
        match self.command {
            Command::Authorize { .. } => Action::Authorize,
            Command::Capture { .. } => Action::Capture,
            Command::Void { .. } => Action::Void,
            Command::Refund { .. } => Action::Refund,
        }
    }

    /// The same for the same call of the same payment, however often it is made.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.payment_id, self.action())
    }
}

/// The processor's answer to an authorization.
#[derive(Deserialize)]
struct Authorization {
    id: String,
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
    pub async fn call(&self, request: &Request, trace: &TraceContext) -> Reply {
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

    async fn send(&self, request: &Request, trace: &TraceContext) -> Reply {
        let sent = with_trace(self.http_request(request), trace).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Reply::Trouble(describe(&error)),
        };
        let status = response.status();
        tracing::Span::current().record("http.response.status_code", status.as_u16());
        match response.bytes().await {
            Ok(body) => read(request.action(), status, &body),
            Err(error) => Reply::Trouble(describe(&error)),
        }
    }

    fn http_request(&self, request: &Request) -> RequestBuilder {
        let post = |below: &[&str]| {
            let mut url = self.base.clone();
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().extend(["v1", "authorizations"]).extend(below);
            }
            self.client.post(url).header("idempotency-key", request.idempotency_key())
        };
        match &request.command {
            Command::Authorize { order_id, amount, method } => post(&[]).json(&serde_json::json!({
                "merchant_reference": order_id,
                "amount_minor": amount.amount_minor,
                "currency": amount.currency,
                "payment_method": method,
            })),
            Command::Capture { authorization_id }
            | Command::Void { authorization_id }
            | Command::Refund { authorization_id } => post(&[authorization_id, request.action().into_str()]),
        }
    }
}

/// What a complete answer means for the call.
pub fn read(action: Action, status: StatusCode, body: &[u8]) -> Reply {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let stated = refusal.code.is_some();
    let reason = refusal.reason(status);
    match (action, status.as_u16()) {
        (Action::Authorize, 200 | 201) => match serde_json::from_slice::<Authorization>(body) {
            Ok(Authorization { id }) => Reply::Answer(Answer::Approved { authorization_id: id }),
            Err(error) => Reply::Trouble(format!("{status}, but its body is no authorization: {error}")),
        },
        (Action::Capture, 200) => Reply::Answer(Answer::Captured),
        (Action::Void, 200) => Reply::Answer(Answer::Voided),
        (Action::Refund, 200) => Reply::Answer(Answer::Refunded),

        (Action::Authorize, 402) => Reply::Answer(Answer::Declined { reason }),
        (Action::Capture, 402) => Reply::Answer(Answer::CaptureFailed { reason }),

        // Late, too many, or broken: the same call may well succeed, and so may no other.
        (_, 408 | 429 | 500..=599) => Reply::Trouble(reason),
        // Too early, or the same call is under way; a 409 with a code says what stands in the way.
        (_, 425) => Reply::Unknown(reason),
        (_, 409) if !stated => Reply::Unknown(reason),
        // Not the customer's card: ours to put right.
        (_, 401 | 403 | 404 | 409) => Reply::Refused(reason),
        (Action::Authorize, 400..=499) => Reply::Answer(Answer::Declined { reason }),
        (_, 400..=499) => Reply::Refused(reason),
        _ => Reply::Unknown(reason),
    }
}

impl Refusal {
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
    fields.into_iter().fold(request, |request, (name, value)| match value {
        Some(value) => request.header(name, value),
        None => request,
    })
}

/// Why there was no answer, down to the system's own word, without the address.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("no answer: {cause}")
}

#[cfg(test)]
mod tests;
