//! The rows of messages that failed.

use std::time::Duration;

use amqp::{RawMessage, message::DELIVERY_COUNT};
use contracts::EventSet;
use runtime::{clock, columns::column};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::retry_policy::Rejection;
use super::{Item, Source};

/// Headers are read by people: long reasons are cut.
const REASON_MAX_CHARS: usize = 1000;

/// Stores the items that have failed. One that is stored already, because the batch comes again, is left as it is.
pub(super) async fn insert<E: EventSet>(
    conn: &mut PgConnection,
    source: &Source<E>,
    items: &[Item<'_, E>],
) -> sqlx::Result<()> {
    let failed: Vec<_> =
        items.iter().filter_map(|item| Some((item.message, item.event.as_ref().err()?))).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let wait = |rejection: &Rejection| {
        source.retries.wait(rejection, 0, Duration::ZERO).map(|wait| wait.as_secs_f64())
    };
    sqlx::query!(
        "insert into messaging.failed_messages
             (id, source, key, message_id, content_type, headers, body, class, attempts, reason, due_at)
         select id, $1, key, message_id, content_type, headers::json, body, class, attempts, reason,
             now() + make_interval(secs => wait)
         from unnest($2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::integer[],
             $10::text[], $11::float8[])
             as failed (id, key, message_id, content_type, headers, body, class, attempts, reason, wait)
         order by key
         on conflict do nothing",
        source.name,
        &column(&failed, |_| clock::new_id()),
        &column(&failed, |(message, _)| key_of(message)),
        &column(&failed, |(message, _)| message.id().map(|id| text(&id))) as _,
        &column(&failed, |(message, _)| message.content_type().map(text)) as _,
        &column(&failed, |(message, _)| message.headers().to_json().to_string()),
        &column(&failed, |(message, _)| message.body()) as _,
        &column(&failed, |(_, rejection)| rejection.class()) as _,
        &column(&failed, |(_, rejection)| rejection.attempts(0)),
        &column(&failed, |(_, rejection)| reason(rejection)),
        &column(&failed, |(_, rejection)| wait(rejection)) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What tells one message from all others of its source, and is the same when it comes again. Its event's id is not
/// enough: garbage may bear the id of an event, and must not stand in for it.
fn key_of(message: &RawMessage) -> Vec<u8> {
    let mut headers = message.headers().to_json();
    if let Some(headers) = headers.as_object_mut() {
        headers.remove(DELIVERY_COUNT);
    }
    let mut digest = Sha256::new();
    for part in [name_of(message).as_bytes(), headers.to_string().as_bytes(), message.body()] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().to_vec()
}

/// The message's id, for a log.
pub(super) fn name_of(message: &RawMessage) -> String {
    message.id().unwrap_or_default()
}

/// Postgres has no text with NUL.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn reason(rejection: &Rejection) -> String {
    text(&rejection.reason().chars().take(REASON_MAX_CHARS).collect::<String>())
}

/// A message that is due, with an attempt begun.
pub(crate) struct Due {
    pub(super) id: Uuid,
    pub(super) message_id: Option<String>,
    pub(super) body: Vec<u8>,
    /// How many have failed.
    pub(super) attempts: i32,
    /// Attempts in a row that did not end, with the one that begins now.
    pub(super) unfinished: i32,
    age_seconds: f64,
}

impl Due {
    pub(super) fn age(&self) -> Duration {
        Duration::from_secs_f64(self.age_seconds.max(0.0))
    }

    /// The message's id, for a log.
    pub(super) fn name(&self) -> &str {
        self.message_id.as_deref().unwrap_or_default()
    }
}

/// Begins an attempt of the message that has been due for longest; `None` when none is. It is committed at once, so that
/// an attempt in which the process dies counts.
pub(super) async fn begin_attempt(pool: &PgPool, source: &str) -> sqlx::Result<Option<Due>> {
    sqlx::query_as!(
        Due,
        r#"update messaging.failed_messages set unfinished = unfinished + 1
           where id = (
               select id from messaging.failed_messages where source = $1 and due_at <= now()
               order by due_at limit 1 for update skip locked
           )
           returning id, message_id, body, attempts, unfinished,
               extract(epoch from now() - received_at)::float8 as "age_seconds!""#,
        source
    )
    .fetch_optional(pool)
    .await
}

/// Takes back an attempt that was begun and not made.
pub(super) async fn withdraw_attempt(pool: &PgPool, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.failed_messages set unfinished = greatest(unfinished - 1, 0) where id = $1",
        id
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Locks a message that is still due; false when another replica had it meanwhile. It waits for another transaction that
/// has the lock: that may be an attempt of this replica, whose rollback is under way.
pub(super) async fn lock(conn: &mut PgConnection, due: &Due) -> sqlx::Result<bool> {
    let locked = sqlx::query_scalar!(
        "select id from messaging.failed_messages
         where id = $1 and attempts = $2 and due_at <= now() for update",
        due.id,
        due.attempts
    );
    Ok(locked.fetch_optional(conn).await?.is_some())
}

pub(super) async fn delete(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from messaging.failed_messages where id = $1", id).execute(conn).await?;
    Ok(())
}

/// Stores that an attempt ended, and when the next one is.
pub(super) async fn end_attempt(
    conn: &mut PgConnection,
    due: &Due,
    rejection: &Rejection,
    wait: Option<Duration>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.failed_messages
         set class = $2, attempts = $3, unfinished = 0, reason = $4, failed_at = now(),
             due_at = now() + make_interval(secs => $5)
         where id = $1",
        due.id,
        rejection.class(),
        rejection.attempts(due.attempts),
        reason(rejection),
        wait.map(|wait| wait.as_secs_f64()) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}
