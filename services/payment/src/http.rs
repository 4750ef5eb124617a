//! The HTTP side: what was held, taken and given back for an order.

use axum::{Router, extract::State, routing::get};
use contracts::{Money, OrderId};
use http_api::{
    Json, Path, Problem, Query,
    page::{Cursor, Limit, Page, Scope},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{Payment, Status};
use crate::store::{self, WrittenEntry};

pub(crate) fn router(pool: PgPool) -> Router {
    Router::new()
        .route("/api/v1/payments", get(list))
        .route("/api/v1/payments/{order_id}", get(show))
        .with_state(pool)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    status: Option<String>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor<Uuid>>,
}

#[derive(Debug, Serialize)]
struct PaymentView {
    order_id: OrderId,
    payment_id: Uuid,
    status: &'static str,
    /// None for an order that was cancelled before this service saw it.
    amount: Option<Money>,
    /// How much of it was captured.
    captured: Option<Money>,
    /// How much of that was given back.
    refunded: Option<Money>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct PaymentWithLedger {
    #[serde(flatten)]
    payment: PaymentView,
    ledger: Vec<WrittenEntry>,
}

async fn list(
    State(pool): State<PgPool>,
    scope: Scope,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<PaymentView>>, Problem> {
    let status = query.status.map(|word| word.parse::<Status>()).transpose().map_err(Problem::malformed)?;
    let before = scope.key(query.cursor)?;
    let rows = store::list(&pool, status, before, query.limit).await?;
    Ok(Json(Page::cut(rows, query.limit, scope, |payment| payment.order_id).map(PaymentView::from)))
}

async fn show(
    State(pool): State<PgPool>,
    Path(order_id): Path<OrderId>,
) -> Result<Json<PaymentWithLedger>, Problem> {
    let found = store::find(&pool, order_id).await?;
    let missing = || Problem::not_found(format_args!("order {order_id} has no payment here, or not yet"));
    let (payment, ledger) = found.ok_or_else(missing)?;
    Ok(Json(PaymentWithLedger { payment: payment.into(), ledger }))
}

impl From<Payment> for PaymentView {
    fn from(payment: Payment) -> Self {
        let Payment { order_id, payment_id, status, terms, moved, reason, .. } = payment;
        let amount = terms.map(|terms| terms.amount);
        let of_it = |amount_minor| Some(Money { amount_minor, ..amount.clone()? });
        Self {
            order_id,
            payment_id,
            status: status.into_str(),
            captured: of_it(moved.captured_minor),
            refunded: of_it(moved.refunded_minor),
            amount,
            reason,
        }
    }
}
