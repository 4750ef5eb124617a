//! The rows of the stream reader: its offset, and the dead letters of the stream.

use amqp::topology::EVENT_STREAM;
use runtime::columns::column;
use sqlx::PgConnection;

/// Any number, the same in all replicas.
const READER_LOCK: i64 = 0x0072_6561_6465_7200;

/// A dead letter whose replay a person has requested.
pub(super) struct Requested {
    pub(super) stream_offset: i64,
    pub(super) body: Vec<u8>,
}

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

/// Inserts dead letters, each by its offset, the reason and the body.
pub(super) async fn insert_dead_letters(
    conn: &mut PgConnection,
    dead: &[(i64, &String, &[u8])],
) -> sqlx::Result<()> {
    if dead.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into messaging.stream_dead_letters (stream, stream_offset, reason, body)
         select $1, * from unnest($2::bigint[], $3::text[], $4::bytea[])
         on conflict do nothing",
        EVENT_STREAM,
        &column(dead, |(offset, ..)| *offset),
        &column(dead, |(_, reason, _)| reason.as_str()) as _,
        &column(dead, |(.., body)| *body) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn next_requested(conn: &mut PgConnection) -> sqlx::Result<Option<Requested>> {
    sqlx::query_as!(
        Requested,
        "select stream_offset, body from messaging.stream_dead_letters
         where stream = $1 and replay_requested_at is not null
         order by stream_offset limit 1 for update",
        EVENT_STREAM
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn delete_dead_letter(conn: &mut PgConnection, offset: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from messaging.stream_dead_letters where stream = $1 and stream_offset = $2",
        EVENT_STREAM,
        offset
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores that a replay failed: the dead letter stays, with its new reason.
pub(super) async fn replay_failed(conn: &mut PgConnection, offset: i64, reason: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.stream_dead_letters
         set reason = $3, failed_at = now(), replay_requested_at = null
         where stream = $1 and stream_offset = $2",
        EVENT_STREAM,
        offset,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}
