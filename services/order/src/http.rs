//! The HTTP API of orders: place, list, get, cancel, timeline.

mod view;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use contracts::{
    Currency, Customer, CustomerId, Email, Event, Money, OrderId, PaymentMethod, Quantity, Sku, StockLine,
    Versions,
};
use http_api::{
    ETag, IdempotencyKey, Json, Path, Problem, Query, RawJson,
    idempotency::StoredResponse,
    page::{Cursor, Limit, Page, Scope},
};
use messaging::{Effects, UnitOfWork};
use runtime::{clock, database};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use self::view::OrderView;
use crate::{
    domain::{Order, PlaceOrder, Refusal, decide_cancel, replay},
    event_log::{Cause, EventRecorder},
    placement::PlacementHandle,
    state::Status,
    store,
};

const ORDERS: &str = "/api/v1/orders";

#[derive(Debug, Clone)]
pub struct App {
    pub pool: PgPool,
    pub unit_of_work: UnitOfWork,
    pub versions: Versions<Event>,
}

/// The route that places orders. Its requests wait for the placement batcher and hold no connection of the pool, so it
/// has a concurrency limit of its own.
pub fn placement_router(placement: PlacementHandle) -> Router {
    Router::new().route(ORDERS, post(place_order)).with_state(placement)
}

pub fn router(app: App) -> Router {
    Router::new()
        .route(ORDERS, get(list_orders))
        .route("/api/v1/orders/{id}", get(get_order))
        .route("/api/v1/orders/{id}/cancel", post(cancel_order))
        .route("/api/v1/orders/{id}/timeline", get(get_timeline))
        .with_state(app)
}

/// The body of `POST /api/v1/orders`. [`decide_place`](crate::domain::decide_place) checks the rules between its
/// members. Public for the fuzz target, which parses any bytes as one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrderRequest {
    customer: PlacingCustomer,
    lines: Vec<PlaceLine>,
    payment_method: PaymentMethod,
    /// What the customer was shown; a 409 tells the total when it is another.
    expected_total: Option<ExpectedTotal>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedTotal {
    amount_minor: i64,
    currency: Currency,
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

async fn place_order(
    State(placement): State<PlacementHandle>,
    key: IdempotencyKey,
    request: RawJson<PlaceOrderRequest>,
) -> Result<StoredResponse, Problem> {
    let key = key.of_request("POST orders", ORDERS, &request.bytes);
    placement.place(key, request.value.into()).await
}

/// The response to the client that placed this order.
pub fn order_accepted(order: &Order) -> Result<StoredResponse, Problem> {
    let location = format!("{ORDERS}/{}", order.id);
    StoredResponse::json(StatusCode::ACCEPTED, Some(location), &OrderView::from(order))
}

async fn cancel_order(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let mut tx = database::begin(&app.pool).await?;
    let mut locked = store::load_for_update(&mut tx, &[OrderId(id)]).await?;
    let mut order = locked.remove(&OrderId(id)).ok_or_else(|| no_such_order(id))?;
    let mut recorder = EventRecorder::default();
    let transition = decide_cancel(&order)?;
    recorder.record(&mut order, transition, &Cause::command(clock::now()));
    store::save(&mut tx, std::slice::from_ref(&order)).await?;
    store::append(&mut tx, &recorder.entries).await?;
    app.unit_of_work.commit(tx, Effects::publish(recorder.events)).await?;
    Ok((StatusCode::ACCEPTED, Json(OrderView::from(&order))).into_response())
}

async fn get_order(State(app): State<App>, Path(id): Path<Uuid>) -> Result<impl IntoResponse, Problem> {
    let mut conn = app.pool.acquire().await?;
    let order = store::load(&mut conn, OrderId(id)).await?.ok_or_else(|| no_such_order(id))?;
    Ok((ETag(order.version), Json(OrderView::from(&order))))
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

async fn list_orders(
    State(app): State<App>,
    scope: Scope,
    Query(query): Query<ListOrders>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let ListOrders { status, customer_id, limit, cursor } = query;
    let status = status.map(|word| word.parse::<Status>()).transpose().map_err(Problem::malformed)?;
    let before = scope.key(cursor)?;
    let mut conn = app.pool.acquire().await?;
    let orders = store::list(&mut conn, status, customer_id.as_ref(), before, limit.rows()).await?;
    let page = Page::cut(orders, limit, scope, |last| (last.placed_at, last.id));
    Ok(Json(page.map(|order| OrderView::from(&order))))
}

/// Replays the event log, so that the timeline shows what the events alone say.
async fn get_timeline(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Json<Value>, Problem> {
    let mut conn = app.pool.acquire().await?;
    let row = store::load(&mut conn, OrderId(id)).await?.ok_or_else(|| no_such_order(id))?;
    let log = store::log(&mut conn, &app.versions, row.id).await?;
    let events = log.iter().map(|entry| (&entry.event, entry.aggregate_version));
    let order = replay(row.placed_at, row.deadlines, events).ok_or_else(|| {
        Problem::internal(format_args!("the event log of order {id} does not begin with order.placed"))
    })?;
    Ok(Json(view::timeline(&order, log)))
}

fn no_such_order(id: Uuid) -> Problem {
    Problem::not_found(format_args!("there is no order {id}"))
}

impl From<PlaceOrderRequest> for PlaceOrder {
    fn from(order: PlaceOrderRequest) -> Self {
        let PlaceOrderRequest { customer, lines, payment_method, expected_total } = order;
        let lines =
            lines.into_iter().map(|PlaceLine { sku, quantity }| StockLine { sku, quantity }).collect();
        let customer = Customer { id: customer.id, email: customer.email };
        let expected_total =
            expected_total.map(|ExpectedTotal { amount_minor, currency }| Money { amount_minor, currency });
        Self { customer, lines, payment_method, expected_total }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let problem = |status, slug, title| Problem::new(status, slug, title).detail(&refusal);
        let invalid = |slug, title| problem(StatusCode::UNPROCESSABLE_ENTITY, slug, title);
        let conflict = |slug, title| problem(StatusCode::CONFLICT, slug, title);
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
            Refusal::OtherTotal(total) => {
                conflict("total-changed", "The total is another than expected").with("total", json!(total))
            }
            Refusal::Completed => conflict("order-completed", "The order is completed"),
        }
    }
}
