//! Orders over HTTP: placing, looking, cancelling.

mod view;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use contracts::{
    Customer, CustomerId, Email, Event, OrderId, PaymentMethod, Quantity, Sku, StockLine, Versions,
};
use http_api::{
    IdempotencyKey, Json, Path, Problem, Query, RawJson,
    page::{Cursor, Limit, Page},
};
use messaging::{
    Effects, Outbox,
    idempotency::{self, Key, StoredResponse},
};
use runtime::{clock, database};
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use self::view::{OrderView, TimelineView};
use crate::{
    domain::{Order, PlaceOrder, Refusal, decide_cancel, fold},
    event_log::{Cause, EventRecorder},
    placement::PlacementHandle,
    state::Status,
    store::{self, Listing},
};

const ORDERS: &str = "/api/v1/orders";
/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// The service's database.
    pub pool: PgPool,
    /// Where what is announced goes.
    pub outbox: Outbox,
    /// Which versions of events the log may hold.
    pub versions: Versions<Event>,
}

/// The route of `/api/v1` that places orders.
pub fn placing_router(placement: PlacementHandle) -> Router {
    Router::new().route(ORDERS, post(place)).with_state(placement)
}

/// The other routes of `/api/v1`.
pub fn router(app: App) -> Router {
    Router::new()
        .route(ORDERS, get(list))
        .route("/api/v1/orders/{id}", get(look))
        .route("/api/v1/orders/{id}/cancel", post(cancel))
        .route("/api/v1/orders/{id}/timeline", get(timeline))
        .with_state(app)
}

/// The body of `POST /api/v1/orders`: who orders what, and how it is to be paid. Whether the order can be is for
/// [`decide_place`](crate::domain::decide_place) to say. Public for the fuzz target, which makes one of any bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrderRequest {
    customer: PlacingCustomer,
    lines: Vec<PlaceLine>,
    payment_method: PaymentMethod,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacingCustomer {
    id: CustomerId,
    email: Email,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceLine {
    sku: Sku,
    quantity: Quantity,
}

async fn place(
    State(placement): State<PlacementHandle>,
    IdempotencyKey(key): IdempotencyKey,
    request: RawJson<PlaceOrderRequest>,
) -> Result<Response, Problem> {
    let fingerprint =
        |key| Key { key, fingerprint: idempotency::fingerprint("POST", ORDERS, &request.bytes) };
    let key = key.map(fingerprint);
    Ok(answer(placement.place(key, request.value.into()).await?))
}

/// What is answered to whoever placed this order.
pub(crate) fn accepted(order: &Order) -> Result<StoredResponse, Problem> {
    Ok(StoredResponse {
        status: StatusCode::ACCEPTED.as_u16(),
        location: Some(format!("{ORDERS}/{}", order.id)),
        body: serde_json::to_vec(&OrderView::from(order)).map_err(Problem::internal)?,
    })
}

async fn cancel(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let mut tx = database::begin(&app.pool).await?;
    let mut locked = store::load_for_update(&mut tx, &[OrderId(id)]).await?;
    let mut order = locked.remove(&OrderId(id)).ok_or_else(|| unknown(id))?;
    let facts = decide_cancel(&order)?;
    let mut record = EventRecorder::default();
    if !facts.is_empty() {
        record.add(&mut order, facts, &Cause::told(clock::now()));
        store::save(&mut tx, &[&order]).await?;
        store::append(&mut tx, &record.entries).await?;
    }
    app.outbox.commit(tx, Effects::publish(record.outgoing)).await?;
    Ok((StatusCode::ACCEPTED, Json(OrderView::from(&order))).into_response())
}

async fn look(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Json<OrderView>, Problem> {
    let mut conn = app.pool.acquire().await?;
    let order = store::load(&mut conn, OrderId(id)).await?.ok_or_else(|| unknown(id))?;
    Ok(Json(OrderView::from(&order)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListOrders {
    status: Option<String>,
    customer_id: Option<CustomerId>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor<(DateTime<Utc>, Uuid)>>,
}

async fn list(
    State(app): State<App>,
    Query(query): Query<ListOrders>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let status: Option<Status> = query
        .status
        .map(|status| status.parse())
        .transpose()
        .map_err(|error| Problem::malformed(format_args!("status: {error}")))?;
    let listing = Listing {
        status,
        customer_id: query.customer_id.as_ref().map(CustomerId::as_str),
        after: query.cursor.map(|Cursor(key)| key),
        rows: query.limit.rows(),
    };
    let mut conn = app.pool.acquire().await?;
    let orders = store::list(&mut conn, &listing).await?;
    let page = Page::cut(orders, query.limit, |last| (last.placed_at, last.id));
    Ok(Json(page.map(|order| OrderView::from(&order))))
}

/// Folds the log again, so that what is told comes from the facts alone.
async fn timeline(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Json<TimelineView>, Problem> {
    let mut conn = app.pool.acquire().await?;
    let row = store::load(&mut conn, OrderId(id)).await?.ok_or_else(|| unknown(id))?;
    let log = store::log(&mut conn, &app.versions, row.id).await?;
    let facts = log.iter().map(|entry| &entry.fact);
    let order = fold(row.placed_at, row.deadline_at, facts).ok_or_else(|| {
        Problem::internal(format_args!("the log of order {id} does not begin with order.placed"))
    })?;
    Ok(Json(TimelineView::new(&order, log)))
}

/// The answer as it is kept: a replay is the same, byte for byte.
fn answer(response: StoredResponse) -> Response {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::ACCEPTED);
    let location = response.location.map(|location| [(header::LOCATION, location)]);
    (status, location, [(header::CONTENT_TYPE, "application/json")], response.body).into_response()
}

fn unknown(id: Uuid) -> Problem {
    Problem::not_found(format_args!("there is no order {id}"))
}

impl From<PlaceOrderRequest> for PlaceOrder {
    fn from(order: PlaceOrderRequest) -> Self {
        let PlaceOrderRequest { customer, lines, payment_method } = order;
        let lines =
            lines.into_iter().map(|PlaceLine { sku, quantity }| StockLine { sku, quantity }).collect();
        let customer = Customer { id: customer.id, email: customer.email };
        Self { customer, lines, payment_method }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let invalid =
            |slug, title| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, slug, title).detail(&refusal);
        match &refusal {
            Refusal::LineCount(_) => invalid("line-count", "An order has 1 to 50 lines"),
            Refusal::RepeatedSku(sku) => {
                invalid("repeated-sku", "A SKU stands in one line only").with("sku", sku.as_str())
            }
            Refusal::UnknownSkus(skus) => {
                let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
                invalid("unknown-sku", "A SKU is not for sale").with("skus", skus)
            }
            Refusal::SeveralCurrencies(_) => invalid("several-currencies", "An order is in one currency"),
            Refusal::TotalTooLarge => invalid("total-too-large", "The total is too large"),
            Refusal::Completed => {
                Problem::new(StatusCode::CONFLICT, "order-completed", "The order is completed")
                    .detail(&refusal)
            }
        }
    }
}
