//! The processor's HTTP API, and what its faults look like from outside.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_api::{
    IdempotencyKey, Json, Path, Problem, Query,
    page::{Cursor, Limit, Page, Scope},
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    domain::{
        Amount, Authorization, Currency, Decline, Item, ItemKey, MerchantReference, NewAuthorization,
        Operation, Outcome, Refusal, Reply, Request, Sums,
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
        post(
            async move |State(app): State<App>,
                        Path(id): Path<Uuid>,
                        key: IdempotencyKey,
                        part: Option<Json<Part>>| { app.change(key, id, operation, part).await },
        )
    };
    Router::new()
        .route("/v1/authorizations", get(authorizations).post(authorize))
        .route("/v1/authorizations/{id}", get(authorization))
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

/// How much to take or to give back, in the currency of the hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    amount_minor: Amount,
    currency: Currency,
}

async fn authorization(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Json<Authorization>, Problem> {
    app.processor.authorization(id).map(Json).ok_or_else(|| Problem::not_found(Refusal::Unknown))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    merchant_reference: MerchantReference,
}

#[derive(Debug, Serialize)]
struct Authorizations {
    items: Vec<Authorization>,
}

async fn authorizations(State(app): State<App>, Query(query): Query<ListQuery>) -> Json<Authorizations> {
    Json(Authorizations { items: app.processor.of_reference(&query.merchant_reference) })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportQuery {
    merchant_reference: Option<MerchantReference>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor<ItemKey>>,
}

/// A page of the items, and the totals of all pages.
#[derive(Debug, Serialize)]
struct ReportPage {
    #[serde(flatten)]
    page: Page<Item>,
    totals: BTreeMap<Currency, Sums>,
}

async fn report(
    State(app): State<App>,
    scope: Scope,
    Query(query): Query<ReportQuery>,
) -> Result<Json<ReportPage>, Problem> {
    let ReportQuery { merchant_reference, limit, cursor } = query;
    let after = scope.key(cursor)?;
    // One more than the page has tells whether another follows.
    let report = app.processor.report_page(merchant_reference.as_ref(), after.as_ref(), limit.get() + 1);
    let page = Page::cut(report.items, limit, scope, Item::key);
    Ok(Json(ReportPage { page, totals: report.totals }))
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
    async fn change(
        &self,
        key: IdempotencyKey,
        id: Uuid,
        operation: Operation,
        part: Option<Json<Part>>,
    ) -> Result<Response, Problem> {
        if let (Some(Json(part)), Some(known)) = (&part, self.processor.authorization(id))
            && part.currency != known.asked.currency
        {
            return Err(Problem::invalid("the currency is not that of the authorization"));
        }
        let amount = part.map(|Json(part)| part.amount_minor);
        self.call(key, Request::Change { id, operation, amount }).await
    }

    /// One call through the faults to the books.
    async fn call(&self, key: IdempotencyKey, request: Request) -> Result<Response, Problem> {
        let (latency, fault) = self.faults.draw();
        self.pause(latency).await;
        match fault {
            Some(Fault::Error) => return Err(Problem::unavailable(Duration::from_secs(1))),
            Some(Fault::Timeout) => return Err(self.silence().await),
            Some(Fault::Refused) => return Err(refused()),
            Some(Fault::Expired) => self.expire(&request)?,
            Some(Fault::TimeoutAfterEffect | Fault::WrongAnswer) | None => {}
        }
        match self.processor.process(&key.0, &request)? {
            Reply::Outcome(_) if fault == Some(Fault::TimeoutAfterEffect) => Err(self.silence().await),
            Reply::Outcome(Outcome::Approved(mut authorization)) => {
                if fault == Some(Fault::WrongAnswer) {
                    authorization.asked.amount_minor = authorization.asked.amount_minor.another();
                }
                Ok(Json(authorization).into_response())
            }
            Reply::Outcome(Outcome::Declined(decline)) => Err(declined(decline)),
            Reply::Silence => Err(self.silence().await),
        }
    }

    /// The hold that a call is about ends, if it is still there.
    fn expire(&self, request: &Request) -> Result<(), Failure> {
        let Request::Change { id, .. } = request else { return Ok(()) };
        let expire = Request::Change { id: *id, operation: Operation::Expire, amount: None };
        match self.processor.process(&format!("expire:{id}"), &expire) {
            Err(Failure::Refused(_)) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
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

fn refused() -> Problem {
    Problem::conflict("the call is refused for good").with("code", "refused")
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
            Failure::Refused(refusal @ Refusal::Amount) => Self::invalid(refusal),
            Failure::Journal(error) => Self::internal(format_args!("the journal cannot be written: {error}")),
        }
    }
}
