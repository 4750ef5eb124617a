//! Idempotency keys: the same key and the same request get the first answer again, byte for byte
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key is a row of the transaction that does the work: a request that fails leaves none behind, and a second
//! request with the key waits at the row until the first has committed.

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

/// What to do with a request that has a key.
#[derive(Debug)]
pub enum Begin {
    /// It is the first: do the work and [`complete`] the key in the same transaction.
    Fresh,
    /// It was answered before: give this answer again and roll back.
    Replay(StoredResponse),
    /// The key was used for another request: refuse.
    Mismatch,
}

/// An answer, kept as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The `Location` header.
    pub location: Option<String>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

/// What tells one request from another: a hash of its method, path and body.
#[must_use]
pub fn fingerprint(method: &str, path: &str, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(format!("{method} {path}\n")).chain_update(body).finalize().into()
}

/// Takes the key for a request, told from others by its [`fingerprint`].
///
/// # Errors
/// The database's.
pub async fn begin(conn: &mut PgConnection, key: &str, fingerprint: &[u8]) -> sqlx::Result<Begin> {
    let inserted = sqlx::query!(
        "insert into messaging.idempotency_keys (key, fingerprint) values ($1, $2) on conflict do nothing",
        key,
        fingerprint
    )
    .execute(&mut *conn)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Begin::Fresh);
    }
    let first = sqlx::query!(
        r#"select fingerprint, status as "status!", location, body as "body!"
           from messaging.idempotency_keys where key = $1"#,
        key
    )
    .fetch_one(conn)
    .await?;
    if first.fingerprint != fingerprint {
        return Ok(Begin::Mismatch);
    }
    let status = u16::try_from(first.status).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Begin::Replay(StoredResponse { status, location: first.location, body: first.body }))
}

/// Keeps the answer of a fresh key.
///
/// # Errors
/// The database's.
pub async fn complete(conn: &mut PgConnection, key: &str, response: &StoredResponse) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.idempotency_keys set status = $2, location = $3, body = $4 where key = $1",
        key,
        i16::try_from(response.status).map_err(|error| sqlx::Error::Encode(error.into()))?,
        response.location,
        response.body
    )
    .execute(conn)
    .await?;
    Ok(())
}
