//! The HTTP side: the summary.

use std::collections::BTreeMap;

use axum::{Router, extract::State, routing::get};
use http_api::{Json, Problem};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    domain::{Counts, Status},
    store,
};

pub(crate) fn router(pool: PgPool) -> Router {
    Router::new().route("/api/v1/summary", get(summary)).with_state(pool)
}

async fn summary(State(pool): State<PgPool>) -> Result<Json<Value>, Problem> {
    Ok(Json(view(&store::counts(&pool).await?)))
}

fn view(counts: &Counts) -> Value {
    let orders = |status| counts.orders.get(&status).copied().unwrap_or_default();
    let cancelled = counts.orders.iter().filter_map(|(status, count)| Some((status.reason()?, *count)));
    let cancelled: BTreeMap<_, i64> = cancelled.collect();
    let revenue = counts.revenue.iter().map(|(currency, revenue)| {
        json!({
            "currency": currency,
            "captured_minor": revenue.captured_minor,
            "refunded_minor": revenue.refunded_minor,
            "net_minor": revenue.net_minor(),
        })
    });
    json!({
        "orders": {
            "placed": counts.placed(),
            "pending": orders(Status::Pending),
            "confirmed": orders(Status::Confirmed),
            "completed": orders(Status::Completed),
            "cancelled": cancelled.values().sum::<i64>(),
            "cancelled_by_reason": cancelled,
        },
        "revenue": revenue.collect::<Vec<_>>(),
        "notifications": { "sent": counts.mails_sent, "failed": counts.mails_failed },
        "conversion": counts.conversion(),
        "as_of": { "events": counts.events, "time": counts.newest_event_at },
    })
}
