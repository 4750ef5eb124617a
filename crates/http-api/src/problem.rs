//! Errors as RFC 9457 problem details (`application/problem+json`).

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use runtime::database::{DbErrorKind, error_kind};
use serde::Serialize;
use serde_json::Value;

/// When to repeat a request that the database could not serve.
const DATABASE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// An error as its client sees it: RFC 9457, section 3.
///
/// `type` is the relative reference `/problems/<slug>`. It and `title` are stable; `detail` is for a
/// person and may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: Option<String>,
    extensions: BTreeMap<&'static str, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with a stable `slug` (kebab-case) and a `title` that never varies from case to case.
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str) -> Self {
        Self { status, slug, title, detail: None, extensions: BTreeMap::new(), retry_after: None }
    }

    /// 400: the request cannot be read: not JSON, a path or query that does not parse, a bad header.
    pub fn malformed(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read").detail(detail)
    }

    pub fn not_found(detail: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found").detail(detail)
    }

    /// 409: the state of the resource does not allow it.
    pub fn conflict(detail: impl Display) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "The current state does not allow it").detail(detail)
    }

    /// 428: the request must say which version it changes.
    pub fn precondition_required() -> Self {
        let title = "The request must say which version it changes";
        Self::new(StatusCode::PRECONDITION_REQUIRED, "precondition-required", title)
            .detail("GET it first, and send its ETag as If-Match; If-Match: * changes any version")
    }

    /// 412: the condition of the request, such as `If-Match`, is not met.
    pub fn precondition_failed(detail: impl Display) -> Self {
        let title = "The version is another than the request says";
        Self::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", title).detail(detail)
    }

    /// 422: the request can be read, but a value in it is not valid.
    pub fn invalid(detail: impl Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not valid").detail(detail)
    }

    /// 422: the idempotency key was used before with another request.
    pub fn idempotency_mismatch() -> Self {
        let title = "The idempotency key was used with another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-mismatch", title)
            .detail("use a new Idempotency-Key for a new request")
    }

    /// 409 with `Retry-After`: another request with the same idempotency key is being served.
    pub fn idempotency_in_flight() -> Self {
        let title = "A request with this idempotency key is being served";
        Self::new(StatusCode::CONFLICT, "idempotency-in-flight", title)
            .detail("repeat it a little later, with the same Idempotency-Key")
            .retry_after(Duration::from_secs(1))
    }

    /// 503 with `Retry-After`, in whole seconds, rounded up: a dependency is unavailable, or a limit is reached.
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service cannot take this now")
            .retry_after(retry_after)
    }

    /// 500. Logs the cause, which the client never sees.
    pub fn internal(cause: impl Display) -> Self {
        tracing::error!(error = format!("{cause:#}"), "the request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side")
    }

    /// Adds what is wrong in this case and what the client can do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// Adds an extension member (RFC 9457, section 3.2), e.g. the SKUs that are not known.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.extensions.insert(key, value.into());
        self
    }

    /// Adds a `Retry-After` header, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// `type` without its `/problems/`.
    pub fn slug(&self) -> &'static str {
        self.slug
    }
}

/// The members in the order of the standard.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(flatten)]
    extensions: &'a BTreeMap<&'static str, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("/problems/{}", self.slug),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            extensions: &self.extensions,
        };
        // It holds strings and JSON values only, which always serialize.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let media_type = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, media_type)], body).into_response();
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_millis().div_ceil(1000);
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// 503 where a later attempt can succeed, otherwise 500.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match error_kind(&error) {
            DbErrorKind::Unavailable => {
                Self::unavailable(DATABASE_RETRY_AFTER).detail("the database does not answer")
            }
            DbErrorKind::Contention => Self::unavailable(DATABASE_RETRY_AFTER).detail("the database is busy"),
            DbErrorKind::Rejected => Self::internal(error),
        }
    }
}
