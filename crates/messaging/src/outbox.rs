//! The transactional outbox: events are rows of the business transaction, and a [relay](crate::relay) publishes them.

use std::sync::Arc;

use contracts::{Envelope, Event, ServiceName, TraceContext};
use runtime::clock;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::Notify;
use tracing::Span;
use uuid::Uuid;

use crate::failpoint::{self, Failpoint};
use crate::jobs::{self, NewJob};
use crate::trace;

/// What a piece of work was caused by: an event or a request, and the trace that it belongs to.
#[derive(Debug, Clone, Default)]
pub struct CausationContext {
    /// The id of the event; none for a request or a timer.
    pub cause: Option<Uuid>,
    /// The trace to go on with.
    pub trace: TraceContext,
}

impl CausationContext {
    /// The current span, for work that a request or a timer caused.
    #[must_use]
    pub fn current() -> Self {
        Self { cause: None, trace: trace::context_of(&Span::current()) }
    }
}

/// An event to announce. Its id, time and source are the outbox's to give.
#[derive(Debug, Clone)]
pub struct OutgoingEvent {
    /// What happened.
    pub event: Event,
    /// The version of the announcing aggregate that the event made, counted from 1.
    pub aggregate_version: i64,
    /// What caused it.
    pub origin: CausationContext,
}

/// What a transaction causes beyond its own tables.
#[derive(Debug, Default)]
pub struct Effects {
    /// Events to announce, in this order.
    pub outgoing: Vec<OutgoingEvent>,
    /// Jobs to do after the commit.
    pub jobs: Vec<NewJob>,
}

impl Effects {
    /// Only events, no jobs.
    #[must_use]
    pub fn publish(outgoing: Vec<OutgoingEvent>) -> Self {
        Self { outgoing, jobs: Vec::new() }
    }
}

/// The outbox of one service, shared by everything in the process that commits.
#[derive(Debug, Clone)]
pub struct Outbox {
    service: ServiceName,
    pub(crate) announced: Arc<Notify>,
    pub(crate) job_added: Arc<Notify>,
}

impl Outbox {
    /// The outbox of the service that runs in this process.
    #[must_use]
    pub fn new(service: ServiceName) -> Self {
        Self { service, announced: Arc::default(), job_added: Arc::default() }
    }

    /// The service whose events it holds.
    #[must_use]
    pub fn service(&self) -> ServiceName {
        self.service
    }

    /// Writes the effects into the transaction, commits it, and wakes whoever carries them out.
    ///
    /// Lock the announcing aggregates before: ids are drawn here, and the events of one aggregate are published
    /// in the order of their ids.
    ///
    /// # Errors
    /// The database's. When the commit itself was cut off, the transaction may be in effect.
    pub async fn commit(&self, mut tx: Transaction<'_, Postgres>, effects: Effects) -> sqlx::Result<()> {
        write(&mut tx, self.service, &effects.outgoing).await?;
        jobs::insert(&mut tx, &effects.jobs).await?;
        failpoint::hit(Failpoint::BeforeCommit);
        tx.commit().await?;
        failpoint::hit(Failpoint::AfterCommit);
        if !effects.outgoing.is_empty() {
            self.announced.notify_one();
        }
        if !effects.jobs.is_empty() {
            self.job_added.notify_one();
        }
        Ok(())
    }
}

async fn write(
    conn: &mut PgConnection,
    service: ServiceName,
    outgoing: &[OutgoingEvent],
) -> sqlx::Result<()> {
    if outgoing.is_empty() {
        return Ok(());
    }
    let (mut ids, mut keys, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for announcement in outgoing {
        let event_type = announcement.event.event_type();
        if event_type.owner() != service {
            return Err(sqlx::Error::Encode(
                format!("{service} announces {event_type}, which it does not own").into(),
            ));
        }
        let envelope = Envelope {
            id: clock::new_id(),
            time: clock::now(),
            causation_id: announcement.origin.cause,
            aggregate_version: announcement.aggregate_version,
            trace: announcement.origin.trace.clone(),
            event: announcement.event.clone(),
        };
        ids.push(envelope.id);
        keys.push(event_type.name().to_owned());
        bodies.push(envelope.to_json().map_err(|error| sqlx::Error::Encode(error.into()))?);
    }
    sqlx::query!(
        "insert into messaging.outbox (event_id, routing_key, body)
         select event_id, routing_key, body
         from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as new (event_id, routing_key, body, place)
         order by place",
        &ids,
        &keys,
        &bodies,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many events wait to be published, counted up to `cap`.
///
/// # Errors
/// The database's.
pub async fn depth(conn: &mut PgConnection, cap: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "depth!" from (select from messaging.outbox limit $1) as waiting"#,
        cap
    )
    .fetch_one(conn)
    .await
}
