//! Products, their stock and the reservations, over HTTP.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use contracts::{Currency, Money, OrderId, Sku, StockLine};
use http_api::{
    ETag, IdempotencyKey, IfMatch, Json, Path, Problem, Query, RawJson,
    idempotency::{self, Begin, Key, StoredResponse, while_in_flight},
    page::{Cursor, Limit, Page, Scope},
};
use messaging::UnitOfWork;
use runtime::database;
use serde::{Deserialize, Serialize};
use sqlx::{PgExecutor, PgPool};

use crate::catalogue::{self, no_such_product};
use crate::domain::{AdjustRefused, Level, Movement, Offer, Reason, Reservation};
use crate::store::{self, Shelf};

#[derive(Clone)]
struct App {
    pool: PgPool,
    unit_of_work: UnitOfWork,
}

pub fn router(pool: PgPool, unit_of_work: UnitOfWork) -> Router {
    Router::new()
        .route("/api/v1/products", get(list_products))
        .route("/api/v1/products/{sku}", get(get_product).put(put_product).delete(delete_product))
        .route("/api/v1/products/{sku}/restock", post(restock))
        .route("/api/v1/products/{sku}/adjust", post(adjust))
        .route("/api/v1/reservations/{order_id}", get(get_reservation))
        .with_state(App { pool, unit_of_work })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListProducts {
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor<Sku>>,
}

async fn list_products(
    State(app): State<App>,
    scope: Scope,
    Query(query): Query<ListProducts>,
) -> Result<Json<Page<Shelf>>, Problem> {
    let after = scope.key(query.cursor)?;
    let shelves = store::shelves(&app.pool, after.as_ref(), query.limit.rows()).await?;
    Ok(Json(Page::cut(shelves, query.limit, scope, |last| last.sku.clone())))
}

/// The `ETag` stands for name and price. The stock level changes with every order, and the `ETag` does not.
async fn get_product(State(app): State<App>, Path(sku): Path<Sku>) -> Result<impl IntoResponse, Problem> {
    let product = shelf_of(&app.pool, &sku).await?;
    Ok((ETag(product.version), Json(product)))
}

/// Lists a product, or changes its name and price. The `ETag` stands for these, as in a GET: `If-Match` does not see
/// a change of the stock level.
async fn put_product(
    State(app): State<App>,
    Path(sku): Path<Sku>,
    if_match: IfMatch,
    Json(body): Json<PutProduct>,
) -> Result<Response, Problem> {
    let price = Money { amount_minor: body.price.amount_minor, currency: body.price.currency };
    let offer = Offer::new(body.name, price).map_err(Problem::invalid)?;
    let mut tx = database::begin(&app.pool).await?;
    let listing = catalogue::list(&mut tx, &sku, offer, &if_match).await?;
    let product = shelf_of(&mut *tx, &sku).await?;
    app.unit_of_work.commit(tx, catalogue::publish(listing.changed.as_slice())).await?;
    let status = if listing.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = listing.is_new.then(|| [(header::LOCATION, format!("/api/v1/products/{sku}"))]);
    Ok((status, location, ETag(product.version), Json(product)).into_response())
}

/// Takes a product off the list. Its stock stays, and orders that were placed before are served.
async fn delete_product(
    State(app): State<App>,
    Path(sku): Path<Sku>,
    if_match: IfMatch,
) -> Result<StatusCode, Problem> {
    let mut tx = database::begin(&app.pool).await?;
    let delisted = catalogue::delist(&mut tx, &sku, &if_match).await?;
    app.unit_of_work.commit(tx, catalogue::publish(delisted.as_slice())).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn restock(
    State(app): State<App>,
    Path(sku): Path<Sku>,
    key: IdempotencyKey,
    body: RawJson<Restock>,
) -> Result<StoredResponse, Problem> {
    let key = key.of_request("POST restock", sku.as_str(), &body.bytes);
    let restock = |level: Level| level.restock(&sku, body.value.quantity).map_err(Problem::invalid);
    move_stock(&app.pool, &key, &sku, restock).await
}

/// Corrects the stock by hand, down to what is reserved for orders.
async fn adjust(
    State(app): State<App>,
    Path(sku): Path<Sku>,
    key: IdempotencyKey,
    body: RawJson<Adjust>,
) -> Result<StoredResponse, Problem> {
    let key = key.of_request("POST adjust", sku.as_str(), &body.bytes);
    let Adjust { delta, reason } = body.value;
    let reason = Reason::new(reason)?;
    let adjust = |level: Level| Ok(level.adjust(&sku, delta, reason.clone())?);
    move_stock(&app.pool, &key, &sku, adjust).await
}

/// Moves the stock of a product once under the key, and answers with the product.
async fn move_stock(
    pool: &PgPool,
    key: &Key,
    sku: &Sku,
    movement: impl Fn(Level) -> Result<Movement, Problem>,
) -> Result<StoredResponse, Problem> {
    while_in_flight(|| move_stock_once(pool, key, sku, &movement)).await
}

/// `None` while another request holds the key.
async fn move_stock_once(
    pool: &PgPool,
    key: &Key,
    sku: &Sku,
    movement: impl Fn(Level) -> Result<Movement, Problem>,
) -> Result<Option<StoredResponse>, Problem> {
    let mut tx = database::begin(pool).await?;
    match idempotency::begin(&mut tx, key).await? {
        Begin::Fresh => {}
        Begin::Replay(first) => return Ok(Some(first)),
        Begin::Mismatch => return Err(Problem::idempotency_mismatch()),
        Begin::InFlight => return Ok(None),
    }
    let mut stock = store::load_stock_for_update(&mut tx, [sku]).await?;
    let level = stock.0.get(sku).ok_or_else(|| no_such_product(sku))?;
    let moved = [movement(*level)?];
    stock.apply(&moved);
    store::save_stock(&mut tx, &moved, &stock).await?;
    let response = StoredResponse::json(StatusCode::OK, None, &shelf_of(&mut *tx, sku).await?)?;
    idempotency::complete(&mut tx, &key.key, &response).await?;
    tx.commit().await?;
    Ok(Some(response))
}

async fn get_reservation(
    State(app): State<App>,
    Path(order_id): Path<OrderId>,
) -> Result<Json<ReservationView>, Problem> {
    let reservation = store::reservation(&app.pool, order_id).await?;
    let missing = || Problem::not_found(format_args!("order {order_id} has no reservation here, or not yet"));
    let Reservation { order_id, status, lines, .. } = reservation.ok_or_else(missing)?;
    Ok(Json(ReservationView { order_id, status: status.into_str(), lines }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutProduct {
    name: String,
    price: Price,
}

/// Money as a client writes it: unlike in an event, a member that nobody knows is a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    amount_minor: i64,
    currency: Currency,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restock {
    quantity: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjust {
    /// Pieces more, or fewer when it is below zero.
    delta: i64,
    reason: String,
}

impl From<AdjustRefused> for Problem {
    fn from(refused: AdjustRefused) -> Self {
        match refused {
            AdjustRefused::Reserved { .. } => Self::conflict(refused),
            AdjustRefused::Delta | AdjustRefused::Reason | AdjustRefused::TooMuch { .. } => {
                Self::invalid(refused)
            }
        }
    }
}

async fn shelf_of(db: impl PgExecutor<'_>, sku: &Sku) -> Result<Shelf, Problem> {
    let shelf = store::shelf(db, sku).await?;
    shelf.ok_or_else(|| no_such_product(sku))
}

#[derive(Serialize)]
struct ReservationView {
    order_id: OrderId,
    status: &'static str,
    lines: Vec<StockLine>,
}
