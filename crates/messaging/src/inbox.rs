//! The inbox: the ids of the events that are in effect, entered in the same transaction as their effects.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

/// Enters the ids and returns those that are new. The others are in effect already.
pub async fn enter(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<HashSet<Uuid>> {
    // In id order: two replicas that enter the same ids in different orders would deadlock.
    let fresh = sqlx::query_scalar!(
        "insert into messaging.inbox (event_id)
         select event_id from unnest($1::uuid[]) as new (event_id) order by event_id
         on conflict do nothing
         returning event_id",
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(fresh.into_iter().collect())
}
