//! The HTTP side: what was sent, what waits, what failed.

use axum::{Router, extract::State, routing::get};
use contracts::OrderId;
use http_api::{
    Json, Problem, Query,
    page::{Cursor, Limit, Page, Scope},
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
    scope: Scope,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Listed>>, Problem> {
    let before = scope.key(query.cursor)?;
    let rows = store::list(&pool, query.order_id, before, query.limit).await?;
    Ok(Json(Page::cut(rows, query.limit, scope, |row| row.id)))
}
