//! What an operator does with dead letters: list, replay and discard them. An action and its record are one transaction.
//!
//! A dead letter is a [message that failed](crate::failed_messages) and has no further attempt. A replayed one is due at
//! once, with all its attempts again; the service itself takes it up. One that still waits for its next attempt can be
//! replayed or discarded as well.

use chrono::{DateTime, Utc};
use runtime::{clock, columns::column};
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// A message that failed. Serializes without its headers and its body.
#[derive(Debug, Clone, Serialize)]
pub struct FailedMessage {
    pub id: Uuid,
    /// The queue or the stream that it came from.
    pub source: String,
    /// The id that its publisher gave it; that of its event, when it is one.
    pub message_id: Option<String>,
    /// The event's type with its version, if the body is JSON that has one.
    pub event_type: Option<String>,
    /// What the event is about, usually the id of an order, if the body is JSON that has it.
    pub subject: Option<String>,
    /// `garbage`, `not_for_this_build` or `failed`.
    pub class: String,
    /// How many attempts have failed; 0 for a message that cannot be decoded.
    pub attempts: i32,
    pub reason: String,
    pub received_at: DateTime<Utc>,
    /// When it failed last.
    pub failed_at: DateTime<Utc>,
    /// When it is tried again; none for a dead letter.
    pub due_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub content_type: Option<String>,
    #[serde(skip)]
    pub headers: Value,
    #[serde(skip)]
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Action {
    Replay,
    Discard,
}

#[derive(Debug, Clone)]
pub struct Request {
    /// Usually the name of a person.
    pub by: String,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedAction {
    pub dead_letter_id: Uuid,
    pub message_id: Option<String>,
    pub event_type: Option<String>,
    pub subject: Option<String>,
    /// `replay` or `discard`.
    pub action: String,
    pub reason: Option<String>,
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
}

/// Which failed messages to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those without a further attempt.
    DeadLetters,
    /// Those that wait for their next attempt.
    Waiting,
}

/// The failed messages, in the order in which they came.
pub async fn list(conn: &mut PgConnection, which: Which) -> sqlx::Result<Vec<FailedMessage>> {
    let rows = sqlx::query_as!(
        Row,
        "select id, source, message_id, content_type, headers, body, class, attempts, reason, received_at, failed_at,
             due_at
         from messaging.failed_messages where (due_at is null) = $1 order by id",
        which == Which::DeadLetters
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(FailedMessage::from).collect())
}

/// The failed message of this id, if there is one.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<FailedMessage>> {
    let row = sqlx::query_as!(
        Row,
        "select id, source, message_id, content_type, headers, body, class, attempts, reason, received_at, failed_at,
             due_at
         from messaging.failed_messages where id = $1",
        id
    );
    Ok(row.fetch_optional(conn).await?.map(FailedMessage::from))
}

/// Every action, in the order of time.
pub async fn history(conn: &mut PgConnection) -> sqlx::Result<Vec<RecordedAction>> {
    sqlx::query_as!(
        RecordedAction,
        "select dead_letter_id, message_id, event_type, subject, action, reason, requested_by, requested_at
         from messaging.dead_letter_actions order by id"
    )
    .fetch_all(conn)
    .await
}

/// Replays or discards those of the messages that are still as they were seen, records it, and returns their number.
pub async fn act(
    conn: &mut PgConnection,
    action: Action,
    messages: &[&FailedMessage],
    request: &Request,
) -> sqlx::Result<usize> {
    #[expect(clippy::disallowed_methods, reason = "the connection is no pool's: it ends with the command")]
    let mut tx = conn.begin().await?;
    let acted = match action {
        Action::Replay => replay(&mut tx, messages).await?,
        Action::Discard => discard(&mut tx, messages).await?,
    };
    let acted: Vec<_> = messages.iter().copied().filter(|message| acted.contains(&message.id)).collect();
    record(&mut tx, action, &acted, request).await?;
    tx.commit().await?;
    Ok(acted.len())
}

async fn replay(conn: &mut PgConnection, messages: &[&FailedMessage]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "update messaging.failed_messages as message
         set due_at = now(), received_at = now(), attempts = 0, unfinished = 0
         from unnest($1::uuid[], $2::timestamptz[]) as seen (id, due_at)
         where message.id = seen.id and message.due_at is not distinct from seen.due_at
         returning message.id",
        &column(messages, |message| message.id),
        &column(messages, |message| message.due_at) as _
    )
    .fetch_all(conn)
    .await
}

async fn discard(conn: &mut PgConnection, messages: &[&FailedMessage]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "delete from messaging.failed_messages as message
         using unnest($1::uuid[], $2::timestamptz[]) as seen (id, due_at)
         where message.id = seen.id and message.due_at is not distinct from seen.due_at
         returning message.id",
        &column(messages, |message| message.id),
        &column(messages, |message| message.due_at) as _
    )
    .fetch_all(conn)
    .await
}

async fn record(
    conn: &mut PgConnection,
    action: Action,
    acted: &[&FailedMessage],
    request: &Request,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into messaging.dead_letter_actions
             (id, dead_letter_id, message_id, event_type, subject, action, reason, requested_by)
         select new.*, $6, $7, $8 from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[]) as new",
        &column(acted, |_| clock::new_id()),
        &column(acted, |dead_letter| dead_letter.id),
        &column(acted, |dead_letter| dead_letter.message_id.as_deref()) as _,
        &column(acted, |dead_letter| dead_letter.event_type.as_deref()) as _,
        &column(acted, |dead_letter| dead_letter.subject.as_deref()) as _,
        action.into_str(),
        request.reason,
        request.by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct Row {
    id: Uuid,
    source: String,
    message_id: Option<String>,
    content_type: Option<String>,
    headers: Value,
    body: Vec<u8>,
    class: String,
    attempts: i32,
    reason: String,
    received_at: DateTime<Utc>,
    failed_at: DateTime<Utc>,
    due_at: Option<DateTime<Utc>>,
}

impl From<Row> for FailedMessage {
    fn from(row: Row) -> Self {
        // Also of an event that this build does not know.
        let json: Value = strict_json::from_slice(&row.body).unwrap_or_default();
        // Postgres has no text with NUL, and the history keeps these as text.
        let text = |name: &str| json[name].as_str().map(|text| text.replace('\0', "\u{fffd}"));
        Self {
            event_type: text("type"),
            subject: text("subject"),
            id: row.id,
            source: row.source,
            message_id: row.message_id,
            content_type: row.content_type,
            headers: row.headers,
            body: row.body,
            class: row.class,
            attempts: row.attempts,
            reason: row.reason,
            received_at: row.received_at,
            failed_at: row.failed_at,
            due_at: row.due_at,
        }
    }
}
