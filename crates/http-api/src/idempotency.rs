//! Idempotency keys: a repeated request gets the first response again, byte for byte
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key is a row that the request's own transaction writes, under a lock of that transaction. A request that fails leaves
//! no row. One whose key another request holds at this moment is [in flight](Begin::InFlight): it [waits](while_in_flight)
//! outside of any transaction, so that it holds up nobody else.

use std::{collections::HashMap, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, LOCATION},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use chrono::{DateTime, TimeDelta, Utc};
use runtime::{
    clock,
    columns::column,
    database::{SLICE, delete_in_slices},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Problem;

const RETENTION: TimeDelta = TimeDelta::hours(24);
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a request waits for another one with its key, and how often it looks.
const IN_FLIGHT_LIMIT: Duration = Duration::from_secs(1);
const IN_FLIGHT_PAUSE: Duration = Duration::from_millis(20);

/// What to do with a request that has a key.
#[derive(Debug)]
pub enum Begin {
    /// The key is new: do the work and [`complete`] the key in the same transaction.
    Fresh,
    /// The request was served before: send this response again and roll back.
    Replay(StoredResponse),
    /// The key belongs to another request: refuse this one.
    Mismatch,
    /// Another request holds the key: roll back, and try again soon.
    InFlight,
}

/// A successful JSON response, kept byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    pub status: StatusCode,
    pub location: Option<String>,
    pub body: Vec<u8>,
}

impl StoredResponse {
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

/// The request's key. Rejects with 400 unless it is there, and 1 to 255 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

impl IdempotencyKey {
    const NAME: &str = "idempotency-key";
    const MAX_LENGTH: usize = 255;

    /// The key of a request to a route, such as `POST orders`: the same key on another route is another key.
    pub fn of_request(&self, route: &str, path: &str, body: &[u8]) -> Key {
        let request = Sha256::new().chain_update(format!("{path}\n")).chain_update(body);
        Key { key: format!("{route} {}", self.0), fingerprint: request.finalize().into() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(Self::NAME).iter();
        let Some(value) = values.next() else {
            return Err(Problem::malformed(
                "this call needs an Idempotency-Key header: send a new UUID, and the same one with each repeat",
            ));
        };
        if values.next().is_some() {
            return Err(Problem::malformed("send one Idempotency-Key header, not several"));
        }
        let key = std::str::from_utf8(value.as_bytes()).unwrap_or_default();
        let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if key.is_empty() || key.len() > Self::MAX_LENGTH || !printable {
            return Err(Problem::malformed("an Idempotency-Key is 1 to 255 printable ASCII characters"));
        }
        Ok(Self(key.to_owned()))
    }
}

/// A client's key, with what tells its request from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The route, and the key that the client sent.
    pub key: String,
    /// SHA-256 of path and body.
    pub fingerprint: [u8; 32],
}

pub async fn begin(conn: &mut PgConnection, key: &Key) -> sqlx::Result<Begin> {
    let mut begun = begin_all(conn, &[key]).await?;
    begun.remove(&key.key).ok_or(sqlx::Error::RowNotFound)
}

/// Claims the keys of several requests in one statement, without waiting for any. No key may occur twice.
pub async fn begin_all(conn: &mut PgConnection, keys: &[&Key]) -> sqlx::Result<HashMap<String, Begin>> {
    // Only the transaction that has the lock of a key inserts it: no insert waits for another one.
    let claimed = sqlx::query!(
        r#"with wanted as materialized (
               select key, fingerprint, pg_try_advisory_xact_lock(hashtextextended(key, 0)) as is_free
               from unnest($1::text[], $2::bytea[]) as new (key, fingerprint)
           ), fresh as (
               insert into http_api.idempotency_keys (key, fingerprint)
               select key, fingerprint from wanted where is_free
               on conflict do nothing
               returning key
           )
           select key as "key!", is_free as "is_free!", key in (select key from fresh) as "is_fresh!" from wanted"#,
        &column(keys, |key| key.key.as_str()) as _,
        &column(keys, |key| key.fingerprint.as_slice()) as _
    )
    .fetch_all(&mut *conn)
    .await?;
    let all_are_fresh = claimed.iter().all(|key| key.is_fresh);
    let begin = |is_free| if is_free { Begin::Fresh } else { Begin::InFlight };
    let decided = claimed.into_iter().filter(|key| key.is_fresh || !key.is_free);
    let mut begun: HashMap<String, Begin> = decided.map(|row| (row.key, begin(row.is_free))).collect();
    if all_are_fresh {
        return Ok(begun);
    }
    // Also of keys that are not free: the request that holds one may only be reading its response.
    let known = sqlx::query!(
        r#"select key, fingerprint, status as "status?", location, body as "body?"
           from http_api.idempotency_keys where key = any($1)"#,
        &column(keys, |key| key.key.as_str()) as _
    )
    .fetch_all(conn)
    .await?;
    for row in known {
        // A fresh key has no response yet.
        let (Some(status), Some(body)) = (row.status, row.body) else { continue };
        let same = keys.iter().any(|key| key.key == row.key && key.fingerprint == row.fingerprint.as_slice());
        let status = StatusCode::from_u16(status.cast_unsigned());
        let status = status.map_err(|error| sqlx::Error::Decode(error.into()))?;
        let first = StoredResponse { status, location: row.location, body };
        begun.insert(row.key, if same { Begin::Replay(first) } else { Begin::Mismatch });
    }
    Ok(begun)
}

pub async fn complete(conn: &mut PgConnection, key: &str, response: &StoredResponse) -> sqlx::Result<()> {
    complete_all(conn, &[(key, response)]).await
}

/// Stores the responses of [fresh](Begin::Fresh) keys in one statement.
pub async fn complete_all(conn: &mut PgConnection, answers: &[(&str, &StoredResponse)]) -> sqlx::Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update http_api.idempotency_keys as stored
         set status = answer.status, location = answer.location, body = answer.body
         from unnest($1::text[], $2::smallint[], $3::text[], $4::bytea[]) as answer (key, status, location, body)
         where stored.key = answer.key",
        &column(answers, |(key, _)| *key) as _,
        // A status has three digits.
        &column(answers, |(_, response)| response.status.as_u16().cast_signed()),
        &column(answers, |(_, response)| response.location.as_deref()) as _,
        &column(answers, |(_, response)| response.body.as_slice()) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives back the fresh keys of refused requests, in a transaction that commits other requests. A key that has a response
/// keeps it: its request was refused because the key is another request's.
pub async fn release(conn: &mut PgConnection, keys: &[&str]) -> sqlx::Result<()> {
    if !keys.is_empty() {
        let fresh = sqlx::query!(
            "delete from http_api.idempotency_keys where key = any($1) and status is null",
            keys as _
        );
        fresh.execute(conn).await?;
    }
    Ok(())
}

/// Attempts to serve a request until its key is free: an attempt gives `None` while another request holds it.
///
/// # Errors
/// Those of an attempt, and 409 when the key is not free after a second.
pub async fn while_in_flight<T, F>(attempt: impl Fn() -> F) -> Result<T, Problem>
where
    F: Future<Output = Result<Option<T>, Problem>>,
{
    let end = Instant::now() + IN_FLIGHT_LIMIT;
    loop {
        if let Some(served) = attempt().await? {
            return Ok(served);
        }
        if Instant::now() >= end {
            return Err(Problem::idempotency_in_flight());
        }
        tokio::time::sleep(IN_FLIGHT_PAUSE).await;
    }
}

/// Prunes once a minute until the shutdown. A failed attempt is logged and repeated a minute later.
pub async fn run_pruning(pool: PgPool, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(PRUNE_INTERVAL)).await.is_some() {
        if let Err(error) = prune(&pool, clock::now()).await {
            tracing::warn!(%error, "idempotency keys could not be pruned; the next attempt is in a minute");
        }
    }
}

/// Deletes the keys that are older than 24 hours at `now`, and returns how many there were.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let slice = || {
        sqlx::query!(
            "delete from http_api.idempotency_keys where key = any(array(
                 select key from http_api.idempotency_keys where created_at < $1 order by created_at limit $2
             ))",
            now - RETENTION,
            SLICE
        )
        .execute(pool)
    };
    delete_in_slices(slice).await
}
