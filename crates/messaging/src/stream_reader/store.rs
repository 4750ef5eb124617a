//! The row of the stream reader: its offset.

use amqp::topology::EVENT_STREAM;
use sqlx::PgConnection;

/// The offset to start at: 0 when the stream was never read.
pub(super) async fn next_offset(conn: &mut PgConnection, token: i64) -> sqlx::Result<i64> {
    sqlx::query!(
        "insert into messaging.stream_offsets (stream, next_offset) values ($1, 0) on conflict do nothing",
        EVENT_STREAM
    )
    .execute(&mut *conn)
    .await?;
    lock_offset(conn, token).await
}

/// The offset at which the reader with this token goes on; an error when another one reads.
pub(super) async fn lock_offset(conn: &mut PgConnection, token: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select next_offset from messaging.stream_offsets
         where stream = $1 and exists (select from messaging.leases where name = 'reader' and token = $2)
         for no key update",
        EVENT_STREAM,
        token
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn save_offset(conn: &mut PgConnection, offset: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.stream_offsets set next_offset = $2 where stream = $1",
        EVENT_STREAM,
        offset
    )
    .execute(conn)
    .await?;
    Ok(())
}
