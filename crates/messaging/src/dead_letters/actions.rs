//! The actions of people on dead letters, as rows.

use chrono::{DateTime, Utc};
use runtime::clock;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::dead_letter::DeadLetter;

/// An action on a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Replay,
    Discard,
}

impl Action {
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
    /// Usually the name of a person.
    pub by: String,
    pub reason: Option<String>,
}

/// An action as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedAction {
    pub dead_letter_id: String,
    pub message_id: String,
    /// The event's type with its version, if the body has one.
    pub event_type: Option<String>,
    /// What the event is about, if the body says it.
    pub subject: Option<String>,
    /// `replay` or `discard`.
    pub action: String,
    pub reason: Option<String>,
    pub requested_by: String,
    pub requested_at: DateTime<Utc>,
    /// Missing when the command was interrupted: the action may be in effect, or not.
    pub done_at: Option<DateTime<Utc>>,
}

/// Records an action that is about to be carried out, and returns the ids of the records in the order of the dead letters.
pub(super) async fn record(
    conn: &mut PgConnection,
    action: Action,
    dead_letters: &[&DeadLetter],
    request: &Request,
) -> sqlx::Result<Vec<Uuid>> {
    let ids: Vec<Uuid> = dead_letters.iter().map(|_| clock::new_id()).collect();
    let dead_letter_ids: Vec<String> =
        dead_letters.iter().map(|dead_letter| dead_letter.id.to_string()).collect();
    let message_ids: Vec<String> =
        dead_letters.iter().map(|dead_letter| dead_letter.message_id.clone()).collect();
    let event_types: Vec<Option<&str>> =
        dead_letters.iter().map(|dead_letter| dead_letter.event_type.as_deref()).collect();
    let subjects: Vec<Option<&str>> =
        dead_letters.iter().map(|dead_letter| dead_letter.subject.as_deref()).collect();
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

pub(super) async fn done(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("update messaging.dead_letter_actions set done_at = now() where id = any($1)", ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Every action, in the order of time.
pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<RecordedAction>> {
    sqlx::query_as!(
        RecordedAction,
        "select dead_letter_id, message_id, event_type, subject, action, reason, requested_by, requested_at, done_at
         from messaging.dead_letter_actions order by id"
    )
    .fetch_all(conn)
    .await
}
