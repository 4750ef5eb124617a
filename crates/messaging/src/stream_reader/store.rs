//! The row of the stream reader: its offset.

use amqp::topology::EVENT_STREAM;
use sqlx::PgConnection;

/// Any number, the same in all replicas.
const READER_LOCK: i64 = 0x0072_6561_6465_7200;

/// Takes the lock of the one reader, for as long as the connection lives; false when another replica has it.
pub(super) async fn try_lock(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "reads!""#, READER_LOCK).fetch_one(conn).await
}

/// The offset to start at: 0 when the stream was never read.
pub(super) async fn next_offset(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query!(
        "insert into messaging.stream_offsets (stream, next_offset) values ($1, 0) on conflict do nothing",
        EVENT_STREAM
    )
    .execute(&mut *conn)
    .await?;
    lock_offset(conn).await
}

pub(super) async fn lock_offset(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select next_offset from messaging.stream_offsets where stream = $1 for no key update",
        EVENT_STREAM
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
