//! The HTTP side: what was sent, what waits, what failed.

use axum::{Router, extract::State, routing::get};
use chrono::{DateTime, Utc};
use contracts::OrderId;
use http_api::{
    Json, Problem, Query,
    page::{Cursor, Limit, Page},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::store::{self, Listed};

pub(crate) fn router(pool: PgPool) -> Router {
    Router::new().route("/api/v1/notifications", get(list)).with_state(pool)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    order_id: Option<OrderId>,
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor<Uuid>>,
}

#[derive(Debug, Serialize)]
struct NotificationView {
    id: Uuid,
    order_id: Uuid,
    kind: String,
    recipient: Option<String>,
    status: String,
    attempts: i32,
    reason: Option<String>,
    sent_at: Option<DateTime<Utc>>,
}

async fn list(
    State(pool): State<PgPool>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<NotificationView>>, Problem> {
    let before = query.cursor.map(|cursor| cursor.0);
    let rows = store::list(&pool, query.order_id, before, query.limit).await?;
    Ok(Json(Page::cut(rows, query.limit, |row| row.id).map(NotificationView::from)))
}

impl From<Listed> for NotificationView {
    fn from(row: Listed) -> Self {
        let Listed { id, order_id, kind, recipient, status, attempts, reason, sent_at } = row;
        Self { id, order_id, kind, recipient, status, attempts, reason, sent_at }
    }
}
