//! The HTTP side: the summary.

use std::collections::BTreeMap;

use axum::{Router, extract::State, routing::get};
use chrono::{DateTime, Utc};
use contracts::Currency;
use http_api::{Json, Problem};
use serde::Serialize;
use sqlx::PgPool;

use crate::{
    domain::{Counts, Status},
    store,
};

pub(crate) fn router(pool: PgPool) -> Router {
    Router::new().route("/api/v1/summary", get(summary)).with_state(pool)
}

async fn summary(State(pool): State<PgPool>) -> Result<Json<Summary>, Problem> {
    let counts = store::counts(&pool).await?;
    Ok(Json(Summary::of(&counts)))
}

#[derive(Debug, Serialize)]
struct Summary {
    orders: Orders,
    revenue: Vec<RevenueOfCurrency>,
    notifications: Notifications,
    /// Completed orders per order placed, 0 to 1.
    conversion: Option<f64>,
    as_of: AsOf,
}

#[derive(Debug, Default, Serialize)]
struct Orders {
    placed: i64,
    pending: i64,
    confirmed: i64,
    completed: i64,
    cancelled: i64,
    cancelled_by_reason: BTreeMap<&'static str, i64>,
}

#[derive(Debug, Serialize)]
struct RevenueOfCurrency {
    currency: Currency,
    captured_minor: i64,
    refunded_minor: i64,
    net_minor: i64,
}

#[derive(Debug, Serialize)]
struct Notifications {
    sent: i64,
    failed: i64,
}

/// How far the counts are: so many events, the newest of that time.
#[derive(Debug, Serialize)]
struct AsOf {
    events: i64,
    time: Option<DateTime<Utc>>,
}

impl Summary {
    fn of(counts: &Counts) -> Self {
        let revenue = counts.revenue.iter().map(|(currency, revenue)| RevenueOfCurrency {
            currency: currency.clone(),
            captured_minor: revenue.captured_minor,
            refunded_minor: revenue.refunded_minor,
            net_minor: revenue.net_minor(),
        });
        Self {
            orders: Orders::of(counts),
            revenue: revenue.collect(),
            notifications: Notifications { sent: counts.mails_sent, failed: counts.mails_failed },
            conversion: counts.conversion(),
            as_of: AsOf { events: counts.events, time: counts.newest_event_at },
        }
    }
}

impl Orders {
    fn of(counts: &Counts) -> Self {
        let mut orders = Self { placed: counts.placed(), ..Self::default() };
        for (status, count) in &counts.orders {
            match status {
                Status::Pending => orders.pending += count,
                Status::Confirmed => orders.confirmed += count,
                Status::Completed => orders.completed += count,
                Status::Cancelled(reason) => {
                    orders.cancelled += count;
                    orders.cancelled_by_reason.insert(reason.into_str(), *count);
                }
            }
        }
        orders
    }
}
