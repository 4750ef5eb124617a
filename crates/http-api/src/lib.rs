//! HTTP APIs on axum: what every service of the system answers, whatever its routes are.
//!
//! A handler returns `Result<_, Problem>` and uses `?`: [`Problem`] is made from [`sqlx::Error`] and from a service's
//! own refusals. The extractors ([`Json`], [`RawJson`], [`Query`], [`Path`], [`IdempotencyKey`],
//! [`IfMatch`]) reject with a [`Problem`] too, so that every error has the one shape that clients parse (RFC 9457).

pub mod admission;
pub mod idempotency;
pub mod page;
pub mod server;

mod conditional;
mod extract;
mod problem;

pub use admission::admit;
pub use conditional::{ETag, IfMatch};
pub use extract::{Json, Path, Query, RawJson};
pub use idempotency::IdempotencyKey;
pub use problem::Problem;
pub use server::serve;

/// The migrations of schema `http_api`. A service runs them before its own if its API takes an [`IdempotencyKey`].
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/http-api");
