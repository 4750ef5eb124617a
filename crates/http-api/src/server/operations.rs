//! The routes for operators, on a listener of their own. They are neither traced nor counted.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::TextEncoder;
use runtime::health::Health;
use serde_json::{Value, json};

use super::{no_such_method, no_such_path, require_host};
use crate::{Json, Problem};

pub(super) fn router(health: Health) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/parts", get(parts))
        .route("/metrics", get(metrics))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(require_host))
        .with_state(health)
}

/// Says whose port this is, too: two services that changed places both live.
async fn live(State(health): State<Health>) -> Json<Value> {
    Json(match health.service {
        Some(service) => json!({ "status": "live", "service": service }),
        None => json!({ "status": "live" }),
    })
}

/// Whether HTTP can be served: for balancers.
async fn ready(State(health): State<Health>) -> Response {
    match health.unready() {
        None => Json(json!({ "status": "ready" })).into_response(),
        Some(reason) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "The service is not ready")
                .detail(reason)
                .into_response()
        }
    }
}

/// Every part: for people and alarms.
async fn parts(State(health): State<Health>) -> Response {
    let (missing, notes) = (health.missing(), health.notes());
    let parts: BTreeMap<_, _> =
        health.parts().into_iter().map(|(name, reason)| (name, part(reason))).collect();
    if missing.is_empty() {
        return Json(json!({ "status": "up", "parts": parts, "notes": notes })).into_response();
    }
    let detail: Vec<_> = missing.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "parts-missing", "A part of the service is missing")
        .detail(detail.join("; "))
        .with("parts", json!(parts))
        .with("notes", json!(notes))
        .into_response()
}

fn part(reason: Option<String>) -> Value {
    match reason {
        None => json!({ "state": "up" }),
        Some(reason) => json!({ "state": "down", "reason": reason }),
    }
}

async fn metrics() -> Result<Response, Problem> {
    let families = prometheus::default_registry().gather();
    let text = TextEncoder::new().encode_to_string(&families).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
