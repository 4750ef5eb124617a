//! The transactional outbox: events are rows of the business transaction, until a [relay](crate::relay) has published
//! them.

use chrono::TimeDelta;
use contracts::{Envelope, EventSet, ServiceName};
use runtime::clock;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::effects::OutgoingEvent;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) event_id: Uuid,
    pub(crate) routing_key: String,
    pub(crate) body: String,
}

pub(crate) async fn insert<E: EventSet>(
    conn: &mut PgConnection,
    service: ServiceName,
    outgoing: &[OutgoingEvent<E>],
) -> sqlx::Result<()> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let (mut ids, mut keys, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for OutgoingEvent { event, aggregate_version, origin } in outgoing {
        let name = event.row().name;
        if event.row().owner != service {
            return Err(sqlx::Error::Encode(
                format!("{service} publishes {name}, which it does not own").into(),
            ));
        }
        let envelope = Envelope {
            id: clock::new_id(),
            time: clock::now(),
            causation_id: origin.cause,
            aggregate_version: *aggregate_version,
            trace: origin.trace.clone(),
            event: event.clone(),
        };
        ids.push(envelope.id);
        keys.push(name);
        bodies.push(envelope.to_json().map_err(|error| sqlx::Error::Encode(error.into()))?);
    }
    sqlx::query!(
        "insert into messaging.outbox (event_id, routing_key, body)
         select event_id, routing_key, body
         from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as new (event_id, routing_key, body, place)
         order by place",
        &ids,
        &keys as _,
        &bodies,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes the published rows and reads the next ones, in one round trip.
pub(crate) async fn delete_and_read(
    conn: &mut PgConnection,
    published: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        // The select still sees what the delete removes.
        "with done as (delete from messaging.outbox where id = any($1))
         select id, event_id, routing_key, body from messaging.outbox where id <> all($1) order by id limit $2",
        published,
        limit
    )
    .fetch_all(conn)
    .await
}

/// Whether the oldest event has waited for longer than `limit` to be published, by the database's clock.
pub async fn is_behind(conn: &mut PgConnection, limit: TimeDelta) -> sqlx::Result<bool> {
    let oldest =
        sqlx::query!(r#"select now() as "now!", created_at from messaging.outbox order by id limit 1"#)
            .fetch_optional(conn)
            .await?;
    Ok(oldest.is_some_and(|oldest| oldest.now - oldest.created_at > limit))
}

pub async fn depth(conn: &mut PgConnection, cap: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "depth!" from (select from messaging.outbox limit $1) as waiting"#,
        cap
    )
    .fetch_one(conn)
    .await
}
