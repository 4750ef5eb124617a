//! Idempotency keys: the same key and the same request get the first answer again, byte for byte
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key is a row of the transaction that does the work: a request that fails leaves none behind, and a second
//! request with the key waits at the row until the first has committed.

use std::collections::HashMap;

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

/// A request's key, and its [`fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub key: String,
    /// What tells the request from others.
    pub fingerprint: [u8; 32],
}

/// Takes the key for a request.
///
/// # Errors
/// The database's.
pub async fn begin(conn: &mut PgConnection, key: &Key) -> sqlx::Result<Begin> {
    let mut begun = begin_all(conn, &[key]).await?;
    begun.remove(&key.key).ok_or(sqlx::Error::RowNotFound)
}

/// Takes the keys for several requests, no key twice, and says of each key what to do.
///
/// # Errors
/// The database's.
pub async fn begin_all(conn: &mut PgConnection, keys: &[&Key]) -> sqlx::Result<HashMap<String, Begin>> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> = keys.iter().map(|key| key.fingerprint.as_slice()).collect();
    // In the order of the keys: two transactions that take the same ones in different orders would deadlock.
    let fresh = sqlx::query_scalar!(
        "insert into messaging.idempotency_keys (key, fingerprint)
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
           from messaging.idempotency_keys where key = any($1)"#,
        &names as _
    )
    .fetch_all(conn)
    .await?;
    for row in known {
        // A fresh key has no answer yet.
        let (Some(status), Some(body)) = (row.status, row.body) else { continue };
        let same = keys.iter().any(|key| key.key == row.key && key.fingerprint == row.fingerprint.as_slice());
        let status = u16::try_from(status).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let first = StoredResponse { status, location: row.location, body };
        begun.insert(row.key, if same { Begin::Replay(first) } else { Begin::Mismatch });
    }
    Ok(begun)
}

/// Keeps the answer of a fresh key.
///
/// # Errors
/// The database's.
pub async fn complete(conn: &mut PgConnection, key: &str, response: &StoredResponse) -> sqlx::Result<()> {
    complete_all(conn, &[(key, response)]).await
}

/// Keeps the answers of fresh keys.
///
/// # Errors
/// The database's.
pub async fn complete_all(conn: &mut PgConnection, answers: &[(&str, &StoredResponse)]) -> sqlx::Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = answers.iter().map(|(key, _)| *key).collect();
    let statuses = answers.iter().map(|(_, response)| i16::try_from(response.status));
    let statuses: Vec<i16> =
        statuses.collect::<Result<_, _>>().map_err(|error| sqlx::Error::Encode(error.into()))?;
    let locations: Vec<Option<&str>> =
        answers.iter().map(|(_, response)| response.location.as_deref()).collect();
    let bodies: Vec<&[u8]> = answers.iter().map(|(_, response)| response.body.as_slice()).collect();
    sqlx::query!(
        "update messaging.idempotency_keys as it
         set status = answer.status, location = answer.location, body = answer.body
         from unnest($1::text[], $2::smallint[], $3::text[], $4::bytea[]) as answer (key, status, location, body)
         where it.key = answer.key",
        &keys as _,
        &statuses,
        &locations as _,
        &bodies as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets fresh keys go whose requests are refused, in a transaction in which others are not.
///
/// # Errors
/// The database's.
pub async fn forget(conn: &mut PgConnection, keys: &[&str]) -> sqlx::Result<()> {
    if !keys.is_empty() {
        sqlx::query!("delete from messaging.idempotency_keys where key = any($1)", keys as _)
            .execute(conn)
            .await?;
    }
    Ok(())
}
