//! Dead letters of the stream, replayed when a person requests it.
//!
//! Only the reader writes the reaction's tables, so it carries out the request: the event, the inbox and the deletion of the
//! dead letter are one transaction. An event that is in effect already changes nothing. One that fails again stays a dead
//! letter, with its new reason.

use amqp::topology::EVENT_STREAM;
use runtime::error::with_sources;
use sqlx::{PgConnection, PgPool};

use super::react_alone;
use super::store::{Requested, delete_dead_letter, lock_offset, next_requested, replay_failed};
use crate::delivery::Delivery;
use crate::failure_policy::Failure;
use crate::inbox;
use crate::reaction::Reaction;

/// Replays what was requested. After a transient failure the rest waits for the next call.
pub(super) async fn replay_requested<R: Reaction>(pool: &PgPool, reaction: &R) {
    loop {
        match replay_next(pool, reaction).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => {
                tracing::warn!(%failure, "a replay is tried again");
                return;
            }
        }
    }
}

/// Replays one; false when none is requested.
async fn replay_next<R: Reaction>(pool: &PgPool, reaction: &R) -> Result<bool, Failure> {
    let mut tx = runtime::database::begin(pool).await?;
    // Waits for a reader that lost its lock and has not noticed.
    lock_offset(&mut tx).await?;
    let Some(requested) = next_requested(&mut tx).await? else { return Ok(false) };
    let offset = requested.stream_offset;
    match replay(&mut tx, reaction, &requested).await {
        Ok(()) => {
            tx.commit().await?;
            tracing::info!(offset, "a dead letter was replayed");
        }
        Err(Failure::Permanent(reason)) => {
            tx.rollback().await?;
            let mut conn = pool.acquire().await?;
            replay_failed(&mut conn, offset, &reason).await?;
            tracing::error!(offset, reason, "a replayed event failed: it is a dead letter again");
        }
        Err(failure) => return Err(failure),
    }
    Ok(true)
}

async fn replay<R: Reaction>(
    conn: &mut PgConnection,
    reaction: &R,
    requested: &Requested,
) -> Result<(), Failure> {
    let envelope = reaction
        .versions()
        .decode_envelope(&requested.body)
        .map_err(|error| Failure::Permanent(with_sources(&error)))?;
    if !inbox::enter(conn, &[envelope.id]).await.map_err(Failure::of_no_item)?.is_empty() {
        let delivery = Delivery::new(envelope, EVENT_STREAM, 0);
        react_alone(reaction, conn, std::iter::once(&delivery)).await?;
    }
    Ok(delete_dead_letter(conn, requested.stream_offset).await?)
}
