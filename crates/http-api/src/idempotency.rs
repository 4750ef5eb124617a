//! Idempotency keys: a repeated request gets the first response again, byte for byte
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key is a row that the request's own transaction writes. A request that fails leaves no row, and a second request
//! with the same key waits for that row until the first one has committed.

mod header;

use std::{collections::HashMap, time::Duration};

use axum::{
    http::{
        StatusCode,
        header::{CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use runtime::clock;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

pub use self::header::IdempotencyKey;
use crate::Problem;

/// How long the first response is stored.
const RETENTION: TimeDelta = TimeDelta::hours(24);
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// What to do with a request that has a key.
#[derive(Debug)]
pub enum Begin {
    /// The key is new: do the work and [`complete`] the key in the same transaction.
    Fresh,
    /// The request was served before: send this response again and roll back.
    Replay(StoredResponse),
    /// The key belongs to another request: refuse this one.
    Mismatch,
}

/// A successful JSON response, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    pub status: StatusCode,
    /// The `Location` header.
    pub location: Option<String>,
    pub body: Vec<u8>,
}

impl StoredResponse {
    /// # Errors
    /// 500 for a `body` that cannot be written as JSON.
    pub fn json(
        status: StatusCode,
        location: Option<String>,
        body: &impl Serialize,
    ) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).map_err(Problem::internal)?;
        Ok(Self { status, location, body })
    }
}

impl IntoResponse for StoredResponse {
    fn into_response(self) -> Response {
        let location = self.location.map(|location| [(LOCATION, location)]);
        (self.status, location, [(CONTENT_TYPE, "application/json")], self.body).into_response()
    }
}

/// A client's key, with what tells its request from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

impl Key {
    #[must_use]
    pub fn new(key: String, method: &str, path: &str, body: &[u8]) -> Self {
        let request = Sha256::new().chain_update(format!("{method} {path}\n")).chain_update(body);
        Self { key, fingerprint: request.finalize().into() }
    }
}

/// Claims the key of a request.
pub async fn begin(conn: &mut PgConnection, key: &Key) -> sqlx::Result<Begin> {
    let mut begun = begin_all(conn, &[key]).await?;
    begun.remove(&key.key).ok_or(sqlx::Error::RowNotFound)
}

/// Claims the keys of several requests in one statement. No key may occur twice.
pub async fn begin_all(conn: &mut PgConnection, keys: &[&Key]) -> sqlx::Result<HashMap<String, Begin>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> = keys.iter().map(|key| key.fingerprint.as_slice()).collect();
    // Sorted: two transactions that insert the same keys in different orders would deadlock.
    let fresh = sqlx::query_scalar!(
        "insert into http_api.idempotency_keys (key, fingerprint)
         select key, fingerprint from unnest($1::text[], $2::bytea[]) as new (key, fingerprint) order by key
         on conflict do nothing
         returning key",
        &names as _,
        &fingerprints as _
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut begun: HashMap<String, Begin> = fresh.into_iter().map(|key| (key, Begin::Fresh)).collect();
    if begun.len() == keys.len() {
        return Ok(begun);
    }
    let known = sqlx::query!(
        r#"select key, fingerprint, status as "status?", location, body as "body?"
           from http_api.idempotency_keys where key = any($1)"#,
        &names as _
    )
    .fetch_all(conn)
    .await?;
    for row in known {
        // A fresh key has no response yet.
        let (Some(status), Some(body)) = (row.status, row.body) else { continue };
        let same = keys.iter().any(|key| key.key == row.key && key.fingerprint == row.fingerprint.as_slice());
        let status = u16::try_from(status).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let status = StatusCode::from_u16(status).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let first = StoredResponse { status, location: row.location, body };
        begun.insert(row.key, if same { Begin::Replay(first) } else { Begin::Mismatch });
    }
    Ok(begun)
}

/// Stores the response of a [fresh](Begin::Fresh) key.
pub async fn complete(conn: &mut PgConnection, key: &str, response: &StoredResponse) -> sqlx::Result<()> {
    complete_all(conn, &[(key, response)]).await
}

/// Stores the responses of [fresh](Begin::Fresh) keys in one statement.
pub async fn complete_all(conn: &mut PgConnection, answers: &[(&str, &StoredResponse)]) -> sqlx::Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = answers.iter().map(|(key, _)| *key).collect();
    let statuses = answers.iter().map(|(_, response)| i16::try_from(response.status.as_u16()));
    let statuses: Vec<i16> =
        statuses.collect::<Result<_, _>>().map_err(|error| sqlx::Error::Encode(error.into()))?;
    let locations: Vec<Option<&str>> =
        answers.iter().map(|(_, response)| response.location.as_deref()).collect();
    let bodies: Vec<&[u8]> = answers.iter().map(|(_, response)| response.body.as_slice()).collect();
    sqlx::query!(
        "update http_api.idempotency_keys as stored
         set status = answer.status, location = answer.location, body = answer.body
         from unnest($1::text[], $2::smallint[], $3::text[], $4::bytea[]) as answer (key, status, location, body)
         where stored.key = answer.key",
        &keys as _,
        &statuses,
        &locations as _,
        &bodies as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives back the fresh keys of refused requests, in a transaction that commits other requests.
pub async fn release(conn: &mut PgConnection, keys: &[&str]) -> sqlx::Result<()> {
    if !keys.is_empty() {
        sqlx::query!("delete from http_api.idempotency_keys where key = any($1)", keys as _)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// Prunes once a minute until the shutdown. A failed attempt is logged and repeated a minute later.
pub async fn run_pruning(pool: PgPool, shutdown: CancellationToken) -> anyhow::Result<()> {
    while shutdown.run_until_cancelled(tokio::time::sleep(PRUNE_INTERVAL)).await.is_some() {
        if let Err(error) = prune(&pool, clock::now()).await {
            tracing::warn!(%error, "idempotency keys could not be pruned; the next attempt is in a minute");
        }
    }
    Ok(())
}

/// Deletes the keys that are older than 24 hours at `now`, and returns how many there were.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let deleted =
        sqlx::query!("delete from http_api.idempotency_keys where created_at < $1", now - RETENTION);
    Ok(deleted.execute(pool).await?.rows_affected())
}
