//! Housekeeping: deletes inbox rows that are past their retention, and measures the backlog in the database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::{
    clock,
    database::{SLICE, delete_in_slices},
};
use sqlx::PgPool;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Backlog, METRICS};
use uuid::{NoContext, Timestamp, Uuid};

/// How long the inbox keeps an id: longer than a message usually waits in a backlog or as a dead letter.
const INBOX_RETENTION: chrono::Duration = chrono::Duration::days(7);
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// Prunes once a minute, and measures every few seconds, until the shutdown.
pub async fn run(pool: PgPool, shutdown: CancellationToken) {
    let (mut pruning, mut measuring) = (interval(PRUNE_INTERVAL), interval(MEASURE_INTERVAL));
    let housekeeping = async {
        loop {
            let kept = tokio::select! {
                _ = pruning.tick() => prune(&pool, clock::now()).await.map(|_| ()),
                _ = measuring.tick() => measure(&pool).await,
            };
            if let Err(error) = kept {
                tracing::warn!(%error, "housekeeping is tried again");
            }
        }
    };
    // All of it may be cut off, and is done again.
    let _: Option<()> = shutdown.run_until_cancelled(housekeeping).await;
}

async fn measure(pool: &PgPool) -> sqlx::Result<()> {
    let backlog = sqlx::query_as!(
        Backlog,
        r#"select outbox.count as "events!", outbox.oldest as "oldest_seconds!", jobs.count as "jobs!",
                  jobs.parked as "parked!", jobs.oldest as "oldest_job_seconds!",
                  failed.retries as "retries!", failed.unsupported as "unsupported!", failed.dead as "dead_letters!"
           from (
               select count(*), coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as oldest
               from messaging.outbox
           ) as outbox, (
               select count(*), count(parked_at) as parked,
                      coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as oldest
               from messaging.jobs
           ) as jobs, (
               select count(*) filter (where due_at is not null and class = 'failed') as retries,
                      count(*) filter (where due_at is not null and class = 'not_for_this_build') as unsupported,
                      count(*) filter (where due_at is null) as dead
               from messaging.failed_messages
           ) as failed"#
    )
    .fetch_one(pool)
    .await?;
    METRICS.backlog(&backlog);
    Ok(())
}

/// Deletes the rows that are past their retention at the given time, and returns their number.
pub async fn prune(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let oldest = first_id_at(now - INBOX_RETENTION);
    let slice = || {
        sqlx::query!(
            "delete from messaging.inbox where event_id = any(array(
                 select event_id from messaging.inbox where event_id < $1 order by event_id limit $2
             ))",
            oldest,
            SLICE
        )
        .execute(pool)
    };
    delete_in_slices(slice).await
}

/// The lowest `UUIDv7` of a moment: its first 48 bits are milliseconds since 1970 (RFC 9562, section 5.7).
fn first_id_at(time: DateTime<Utc>) -> Uuid {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    let drawn = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, time.timestamp_subsec_nanos()));
    Uuid::from_u128(drawn.as_u128() >> 80 << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_ids_sort_first() {
        let now = clock::now();
        assert!(first_id_at(now + chrono::Duration::seconds(1)) > clock::new_id());
        assert!(first_id_at(now - chrono::Duration::seconds(1)) < clock::new_id());
    }
}
