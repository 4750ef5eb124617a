//! The processor's HTTP API, and what its faults look like from outside.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_api::{IdempotencyKey, Json, Path, Problem, Query};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    domain::{
        Decline, MerchantReference, NewAuthorization, Operation, Outcome, Refusal, Reply, Report, Request,
    },
    faults::{Fault, Faults, Settings},
    processor::{Failure, Processor},
};

#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) processor: Arc<Processor>,
    pub(crate) faults: Arc<Faults>,
    /// How long a call without an answer is held open.
    pub(crate) hang: Duration,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) fn router(app: App) -> Router {
    let change = |operation| {
        post(async move |State(app): State<App>, Path(id): Path<Uuid>, key: IdempotencyKey| {
            app.call(key, Request::Change { id, operation }).await
        })
    };
    Router::new()
        .route("/v1/authorizations", post(authorize))
        .route("/v1/authorizations/{id}/capture", change(Operation::Capture))
        .route("/v1/authorizations/{id}/void", change(Operation::Void))
        .route("/v1/authorizations/{id}/refund", change(Operation::Refund))
        .route("/v1/report", get(report))
        .route("/v1/calls", get(calls))
        .route("/faults", get(faults).put(set_faults))
        .with_state(app)
}

async fn authorize(
    State(app): State<App>,
    key: IdempotencyKey,
    Json(asked): Json<NewAuthorization>,
) -> Result<Response, Problem> {
    let answer = app.call(key, Request::Authorize(asked)).await?;
    Ok((StatusCode::CREATED, answer).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    merchant_reference: Option<MerchantReference>,
}

async fn report(State(app): State<App>, Query(query): Query<ReportQuery>) -> Json<Report> {
    Json(app.processor.report(query.merchant_reference.as_ref()))
}

/// How often it was called, failed calls included: what a patient client keeps small while nothing works.
async fn calls(State(app): State<App>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "calls": app.faults.calls() }))
}

async fn faults(State(app): State<App>) -> Json<Settings> {
    Json(app.faults.settings())
}

async fn set_faults(
    State(app): State<App>,
    Json(settings): Json<Settings>,
) -> Result<Json<Settings>, Problem> {
    let settings = settings.validated().map_err(Problem::invalid)?;
    app.faults.set(settings);
    Ok(Json(settings))
}

impl App {
    /// One call through the faults to the books.
    async fn call(&self, key: IdempotencyKey, request: Request) -> Result<Response, Problem> {
        let key = key.required()?;
        let (latency, fault) = self.faults.draw();
        self.pause(latency).await;
        match fault {
            Some(Fault::Error) => return Err(Problem::unavailable(Duration::from_secs(1))),
            Some(Fault::Timeout) => return Err(self.silence().await),
            Some(Fault::TimeoutAfterEffect) | None => {}
        }
        match self.processor.process(&key, &request)? {
            Reply::Outcome(_) if fault == Some(Fault::TimeoutAfterEffect) => Err(self.silence().await),
            Reply::Outcome(Outcome::Approved(authorization)) => Ok(Json(authorization).into_response()),
            Reply::Outcome(Outcome::Declined(decline)) => Err(declined(decline)),
            Reply::Silence => Err(self.silence().await),
        }
    }

    /// Holds the connection open, and in the end says only that there is no answer.
    async fn silence(&self) -> Problem {
        self.pause(self.hang).await;
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The call got no answer")
            .detail("it may have taken effect or not: repeat it with the same Idempotency-Key")
    }

    async fn pause(&self, duration: Duration) {
        // A shutdown ends every pause; that the call is answered early is all there is to it.
        let _ = self.shutdown.run_until_cancelled(tokio::time::sleep(duration)).await;
    }
}

fn declined(decline: Decline) -> Problem {
    Problem::new(StatusCode::PAYMENT_REQUIRED, "declined", "The card's bank said no")
        .with("code", decline.to_string())
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(Refusal::KeyReused) => Self::idempotency_mismatch(),
            Failure::Refused(refusal @ Refusal::Unknown) => Self::not_found(refusal),
            Failure::Refused(refusal @ Refusal::NotAllowed(status)) => {
                Self::conflict(refusal).with("code", format!("authorization_{status}"))
            }
            Failure::Journal(error) => Self::internal(format_args!("the journal cannot be written: {error}")),
        }
    }
}
