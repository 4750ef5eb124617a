//! The transactional outbox: events are rows of the business transaction, until a [relay](crate::relay) has published
//! them.

use chrono::TimeDelta;
use contracts::{Envelope, EventSet, ServiceName};
use runtime::{clock, columns::column};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::effects::OutgoingEvent;

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) event_id: Uuid,
    pub(crate) routing_key: String,
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// Which rows to read.
pub(crate) struct Window<'a> {
    /// From this id on.
    pub(crate) floor: i64,
    pub(crate) limit: i64,
    /// All but these.
    pub(crate) in_flight: &'a [i64],
}

/// Events that the broker did not take.
pub(crate) struct Held {
    pub(crate) count: i64,
    /// What it said of one of them.
    pub(crate) reason: Option<String>,
}

pub(crate) async fn insert<E: EventSet>(
    conn: &mut PgConnection,
    service: ServiceName,
    outgoing: &[OutgoingEvent<E>],
) -> sqlx::Result<()> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let (mut ids, mut keys, mut subjects, mut bodies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
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
        subjects.push(event.subject().to_string());
        bodies.push(envelope.to_json().map_err(|error| sqlx::Error::Encode(error.into()))?);
    }
    sqlx::query!(
        "insert into messaging.outbox (event_id, routing_key, subject, body)
         select event_id, routing_key, subject, body
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) with ordinality
             as new (event_id, routing_key, subject, body, place)
         order by place",
        &ids,
        &keys as _,
        &subjects,
        &bodies,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes the published rows and reads the next ones, in one round trip. Nothing is deleted and read unless the token is
/// that of the relay that leads.
pub(crate) async fn delete_and_read(
    conn: &mut PgConnection,
    token: i64,
    published: &[i64],
    window: &Window<'_>,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        // The select still sees what the delete removes.
        "with done as (
             delete from messaging.outbox where id = any($1)
                 and exists (select from messaging.leases where name = 'relay' and token = $2)
         )
         select id, event_id, routing_key, subject, body from messaging.outbox as event
         where id >= $3 and id <> all($1) and id <> all($4) and (held_until is null or held_until <= now())
             and exists (select from messaging.leases where name = 'relay' and token = $2)
             and not exists (
                 select from messaging.outbox as earlier
                 where earlier.subject = event.subject and earlier.id < event.id and earlier.held_until > now())
         order by id limit $5",
        published,
        token,
        window.floor,
        window.in_flight,
        window.limit
    )
    .fetch_all(conn)
    .await
}

pub(crate) async fn held(conn: &mut PgConnection) -> sqlx::Result<Held> {
    sqlx::query_as!(
        Held,
        r#"select count(*) as "count!", min(reason) as reason from messaging.outbox where held_until is not null"#
    )
    .fetch_one(conn)
    .await
}

/// Holds events that the broker did not take, each for as long as it was tried already, 1 s to 15 s. The reason is the
/// broker's.
pub(crate) async fn hold(conn: &mut PgConnection, refused: &[(i64, String)]) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.outbox as event
         set attempts = attempts + 1, reason = refused.reason,
             held_until = now() + least(make_interval(secs => 1 << least(attempts, 4)), interval '15 s')
         from unnest($1::bigint[], $2::text[]) as refused (id, reason) where event.id = refused.id",
        &column(refused, |(id, _)| *id),
        &column(refused, |(_, reason)| reason.replace('\0', "\u{fffd}"))
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether the oldest event has waited for longer than `limit` to be published, by the database's clock. One that the broker
/// refuses again and again does not count: the others are published.
pub async fn is_behind(conn: &mut PgConnection, limit: TimeDelta) -> sqlx::Result<bool> {
    let oldest = sqlx::query!(
        r#"select now() as "now!", created_at from messaging.outbox where attempts < 3 order by id limit 1"#
    )
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
