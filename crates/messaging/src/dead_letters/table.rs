//! The dead letters of a service that reads the event stream: rows of its database.

use amqp::topology;
use contracts::ServiceName;
use serde_json::json;
use sqlx::PgConnection;

use super::dead_letter::{Attributes, DeadLetter, DeadLetterId};

pub(super) async fn all(conn: &mut PgConnection, service: ServiceName) -> sqlx::Result<Vec<DeadLetter>> {
    let rows = sqlx::query!(
        "select stream_offset, reason, body, failed_at, replay_requested_at
         from messaging.stream_dead_letters where stream = $1 order by stream_offset",
        topology::EVENT_STREAM
    )
    .fetch_all(conn)
    .await?;
    let dead_letters = rows.into_iter().map(|row| {
        let attributes = Attributes::of(&row.body);
        DeadLetter {
            id: DeadLetterId::of(&[service.as_str().as_bytes(), &row.stream_offset.to_be_bytes()]),
            service,
            failed_at: Some(row.failed_at),
            message_id: attributes.id.unwrap_or_default(),
            event_type: attributes.event_type,
            subject: attributes.subject,
            attempts: 1,
            reason: row.reason,
            replay_requested_at: row.replay_requested_at,
            body: row.body,
            headers: json!({}),
            content_type: None,
            place: row.stream_offset.cast_unsigned(),
        }
    });
    Ok(dead_letters.collect())
}

/// Requests replays from the reader, and returns how many of the dead letters still existed.
pub(super) async fn request_replay(
    conn: &mut PgConnection,
    dead_letters: &[&DeadLetter],
) -> sqlx::Result<u64> {
    let requested = sqlx::query!(
        "update messaging.stream_dead_letters set replay_requested_at = now()
         where stream = $1 and stream_offset = any($2)",
        topology::EVENT_STREAM,
        &offsets(dead_letters)
    )
    .execute(conn)
    .await?;
    Ok(requested.rows_affected())
}

/// Removes the dead letters for good, and returns how many of them still existed.
pub(super) async fn remove(conn: &mut PgConnection, dead_letters: &[&DeadLetter]) -> sqlx::Result<u64> {
    let removed = sqlx::query!(
        "delete from messaging.stream_dead_letters where stream = $1 and stream_offset = any($2)",
        topology::EVENT_STREAM,
        &offsets(dead_letters)
    )
    .execute(conn)
    .await?;
    Ok(removed.rows_affected())
}

fn offsets(dead_letters: &[&DeadLetter]) -> Vec<i64> {
    dead_letters.iter().map(|dead_letter| dead_letter.place.cast_signed()).collect()
}
