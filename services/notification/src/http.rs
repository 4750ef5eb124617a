//! The HTTP side: what was sent, what waits, what failed.

use axum::{Router, extract::State, routing::get};
use contracts::OrderId;
use http_api::{
    Json, Problem, Query,
    page::{Cursor, Limit, Page},
};
use serde::Deserialize;
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

async fn list(
    State(pool): State<PgPool>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Listed>>, Problem> {
    let before = query.cursor.map(|cursor| cursor.0);
    let rows = store::list(&pool, query.order_id, before, query.limit).await?;
    Ok(Json(Page::cut(rows, query.limit, |row| row.id)))
}
