//! Dead letters of the log, tried again when a person asked for it.
//!
//! Only the reader writes to the handler's tables, so it takes up the request: event, inbox and the end of the dead
//! letter are one transaction, and an event that took effect after all changes nothing. One that fails again is a
//! dead letter as before, with its new reason.

use std::time::Duration;

use amqp::topology;
use contracts::Envelope;
use runtime::error::with_sources;
use sqlx::PgConnection;

use super::{StreamHandler, StreamReader, lock_offset};
use crate::consumer::Delivery;
use crate::failure::Failure;
use crate::inbox;

/// Between two looks for requests.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A dead letter that somebody wants to be tried again.
struct Requested {
    stream_offset: i64,
    body: Vec<u8>,
}

impl<H: StreamHandler> StreamReader<H> {
    /// Tries again what was requested. What only time can heal is left for the next look.
    pub(super) async fn replay_requested(&self) {
        loop {
            match self.replay_next().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => {
                    tracing::warn!(%failure, "a replay was not possible and is tried again");
                    return;
                }
            }
        }
    }

    /// Tries one; false when there is none.
    async fn replay_next(&self) -> Result<bool, Failure> {
        let mut tx = runtime::database::begin(&self.pool).await?;
        // Another reader, that does not know yet that it is none any more, waits here.
        lock_offset(&mut tx).await?;
        let Some(requested) = next_requested(&mut tx).await? else { return Ok(false) };
        let offset = requested.stream_offset;
        match self.replay(&mut tx, &requested).await {
            Ok(()) => {
                tx.commit().await?;
                tracing::info!(offset, "a dead letter was applied");
            }
            Err(Failure::Message(reason)) => {
                tx.rollback().await?;
                let mut conn = self.pool.acquire().await?;
                keep_again(&mut conn, offset, &reason).await?;
                tracing::error!(offset, reason, "an event could not be applied and is a dead letter again");
            }
            Err(failure) => return Err(failure),
        }
        Ok(true)
    }

    async fn replay(&self, conn: &mut PgConnection, requested: &Requested) -> Result<(), Failure> {
        let envelope =
            Envelope::from_json(&requested.body).map_err(|error| Failure::Message(with_sources(&error)))?;
        if !inbox::enter(conn, &[envelope.id]).await.map_err(Failure::not_of_a_message)?.is_empty() {
            self.handle(conn, &[Delivery::new(envelope, topology::EVENT_STREAM)]).await?;
        }
        Ok(remove(conn, requested.stream_offset).await?)
    }
}

async fn next_requested(conn: &mut PgConnection) -> sqlx::Result<Option<Requested>> {
    sqlx::query_as!(
        Requested,
        "select stream_offset, body from messaging.stream_dead_letters
         where stream = $1 and replay_requested_at is not null
         order by stream_offset limit 1 for update",
        topology::EVENT_STREAM
    )
    .fetch_optional(conn)
    .await
}

async fn remove(conn: &mut PgConnection, offset: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from messaging.stream_dead_letters where stream = $1 and stream_offset = $2",
        topology::EVENT_STREAM,
        offset
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn keep_again(conn: &mut PgConnection, offset: i64, reason: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.stream_dead_letters
         set reason = $3, failed_at = now(), replay_requested_at = null
         where stream = $1 and stream_offset = $2",
        topology::EVENT_STREAM,
        offset,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}
