//! The actions of people on dead letters, as rows.

use chrono::{DateTime, Utc};
use runtime::{clock, columns::column};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::dead_letter::DeadLetter;

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
    let ids = column(dead_letters, |_| clock::new_id());
    sqlx::query!(
        "insert into messaging.dead_letter_actions
             (id, dead_letter_id, message_id, event_type, subject, action, reason, requested_by)
         select new.*, $6, $7, $8 from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) as new",
        &ids,
        &column(dead_letters, |dead_letter| dead_letter.id.to_string()),
        &column(dead_letters, |dead_letter| dead_letter.message_id.as_str()) as _,
        &column(dead_letters, |dead_letter| dead_letter.event_type.as_deref()) as _,
        &column(dead_letters, |dead_letter| dead_letter.subject.as_deref()) as _,
        action.into_str(),
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

pub(super) async fn all(conn: &mut PgConnection) -> sqlx::Result<Vec<RecordedAction>> {
    sqlx::query_as!(
        RecordedAction,
        "select dead_letter_id, message_id, event_type, subject, action, reason, requested_by, requested_at, done_at
         from messaging.dead_letter_actions order by id"
    )
    .fetch_all(conn)
    .await
}
