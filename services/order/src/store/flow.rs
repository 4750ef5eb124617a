//! The note of when messages flowed, by the database's clock.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::MessageFlow;

/// The time, and the note.
pub async fn message_flow(conn: &mut PgConnection) -> sqlx::Result<(DateTime<Utc>, MessageFlow)> {
    let row =
        sqlx::query!(r#"select now() as "now!", since, seen_at from message_flow"#).fetch_one(conn).await?;
    Ok((row.now, MessageFlow { since: row.since, seen_at: row.seen_at }))
}

/// The same, with the note locked until the transaction ends: replicas write it one after the other.
pub async fn lock_message_flow(conn: &mut PgConnection) -> sqlx::Result<(DateTime<Utc>, MessageFlow)> {
    let row = sqlx::query!(r#"select now() as "now!", since, seen_at from message_flow for update"#)
        .fetch_one(conn)
        .await?;
    Ok((row.now, MessageFlow { since: row.since, seen_at: row.seen_at }))
}

pub async fn save_message_flow(conn: &mut PgConnection, flow: MessageFlow) -> sqlx::Result<()> {
    sqlx::query!("update message_flow set since = $1, seen_at = $2", flow.since, flow.seen_at)
        .execute(conn)
        .await?;
    Ok(())
}
