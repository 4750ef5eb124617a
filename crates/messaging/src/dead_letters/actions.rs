//! What people did with dead letters.

use chrono::{DateTime, Utc};
use runtime::clock;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::dead_letter::DeadLetter;

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Have it handled again.
    Replay,
    /// Remove it for good.
    Discard,
}

impl Action {
    /// Its name in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

/// Who wants an action, and why.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who: a person's name, as a rule.
    pub by: String,
    /// Why; a discard needs it.
    pub reason: Option<String>,
}

/// An action that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The letter's id.
    pub dead_letter_id: String,
    /// The message's id.
    pub message_id: String,
    /// The event's type with its version, where the body told it.
    pub event_type: Option<String>,
    /// What the event was about, where the body told it.
    pub subject: Option<String>,
    /// `replay` or `discard`.
    pub action: String,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// When it was done. Missing when the command was interrupted: it may or may not be in effect.
    pub done_at: Option<DateTime<Utc>>,
}

/// Notes what is about to be done with the letters, and gives the ids of the notes, in the order of the letters.
pub(super) async fn note(
    conn: &mut PgConnection,
    action: Action,
    letters: &[&DeadLetter],
    request: &Request,
) -> sqlx::Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = letters.iter().map(|_| clock::new_id()).collect();
    let dead_letter_ids: Vec<String> = letters.iter().map(|letter| letter.id.to_string()).collect();
    let message_ids: Vec<String> = letters.iter().map(|letter| letter.message_id.clone()).collect();
    let event_types: Vec<Option<&str>> = letters.iter().map(|letter| letter.event_type.as_deref()).collect();
    let subjects: Vec<Option<&str>> = letters.iter().map(|letter| letter.subject.as_deref()).collect();
    sqlx::query!(
        "insert into messaging.dead_letter_actions
             (id, dead_letter_id, message_id, event_type, subject, action, reason, requested_by)
         select new.*, $6, $7, $8 from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) as new",
        &ids,
        &dead_letter_ids,
        &message_ids,
        &event_types as &[Option<&str>],
        &subjects as &[Option<&str>],
        action.as_str(),
        request.reason,
        request.by,
    )
    .execute(conn)
    .await?;
    Ok(ids)
}

/// Notes that it is done.
pub(super) async fn done(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("update messaging.dead_letter_actions set done_at = now() where id = any($1)", ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Every action, in the order in which they were taken.
pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<Taken>> {
    sqlx::query_as!(
        Taken,
        "select dead_letter_id, message_id, event_type, subject, action, reason, requested_by, requested_at, done_at
         from messaging.dead_letter_actions order by id"
    )
    .fetch_all(conn)
    .await
}
