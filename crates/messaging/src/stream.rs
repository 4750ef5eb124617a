//! The log of all events, read with an exactly-once effect: the offset to go on from is kept, with an inbox, in the
//! transaction that applies the events.
//!
//! One reader at a time, by an advisory lock. What cannot be applied is kept in a table of dead letters in the
//! same transaction, and the reader goes on behind it, and tries it again when somebody asks for it.

mod replay;

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use amqp::supervise::{Session, supervise};
use amqp::{Broker, BrokerError, RawMessage, Receiver, StreamStart, topology};
use contracts::Envelope;
use futures::FutureExt;
use runtime::error::with_sources;
use runtime::health::{Health, HealthItem};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::Delivery;
use crate::failpoint::{self, Failpoint};
use crate::failure::{Failure, HandlerError};
use crate::inbox;
use crate::metrics::METRICS;
use crate::throttle::{self, BatchThrottle};

const POLL: Duration = Duration::from_millis(500);
const CONTENTION_REPEATS: u32 = 10;
const BACKOFF_BASE: Duration = Duration::from_millis(20);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// Any number, the same in all replicas.
const READER_LOCK: i64 = 0x0072_6561_6465_7200;

/// What a service does with the log.
pub trait StreamHandler: Send + Sync + 'static {
    /// Applies fresh events, in the order of the log, in the given transaction.
    fn handle(
        &self,
        conn: &mut PgConnection,
        batch: &[Delivery],
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// The reader of the log.
pub struct StreamReader<H> {
    /// The broker.
    pub broker: Broker,
    /// The service's database.
    pub pool: PgPool,
    /// Where readiness is told.
    pub health: Health,
    /// What to do with the events.
    pub handler: H,
}

/// A message of the stream at its offset: an event, or why it is none.
struct Entry<'a> {
    offset: i64,
    message: &'a RawMessage,
    event: Result<Delivery, String>,
}

impl<H: StreamHandler> StreamReader<H> {
    /// Reads until the shutdown.
    ///
    /// # Errors
    /// When the broker refuses the user at the first try.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let item = self.health.item("consuming");
        Ok(supervise(&item, &shutdown, &self).await?)
    }

    async fn read(&self, item: &HealthItem) -> Result<(), BrokerError> {
        // Before waiting for a turn: a replica that the broker refuses is not ready to take over.
        let (_lock, offset) = self.become_reader(item).await.map_err(|error| away(&error))?;
        let start = if offset == 0 { StreamStart::First } else { StreamStart::Offset(offset) };
        let mut receiver = Receiver::of_event_stream(&self.broker, start).await?;
        let batch = self.broker.config().batch;
        let mut throttle = BatchThrottle::new(throttle::BACKGROUND_INTERVAL);
        item.up();
        let mut looks = interval(replay::LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                throttle.ready().await;
                receiver.receive().await
            };
            let arrived = tokio::select! {
                arrived = next => arrived?,
                _ = looks.tick() => {
                    self.replay_requested().await;
                    continue;
                }
            };
            throttle.begin_with(arrived.len(), batch.into());
            self.work_off(&receiver, &arrived).await?;
        }
    }

    /// Waits until no other replica reads. The lock lives as long as the connection that is given back.
    async fn become_reader(&self, item: &HealthItem) -> sqlx::Result<(PgConnection, i64)> {
        let options = self.pool.connect_options();
        let mut conn = PgConnection::connect_with(&options).await?;
        while !sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "reads!""#, READER_LOCK)
            .fetch_one(&mut conn)
            .await?
        {
            // Another replica reads: this one is ready to take over.
            item.up();
            tokio::time::sleep(POLL).await;
        }
        let offset = next_offset(&mut conn).await?;
        Ok((conn, offset))
    }

    async fn work_off(&self, receiver: &Receiver, arrived: &[RawMessage]) -> Result<(), BrokerError> {
        let entries: Vec<_> = arrived.iter().filter_map(Entry::of).collect();
        let alone = entries.len() == 1;
        if let Err(reason) = self.apply_patiently(receiver, &entries).await? {
            for entry in entries {
                let failed = if alone {
                    Err(reason.clone())
                } else {
                    self.apply_patiently(receiver, std::slice::from_ref(&entry)).await?
                };
                if let Err(reason) = failed {
                    let dead = Entry { event: Err(reason), ..entry };
                    // An entry that is dead needs no handler, so only time can stand in its way.
                    self.apply_patiently(receiver, &[dead]).await?.map_err(BrokerError::Unavailable)?;
                }
            }
        }
        receiver.ack_through(arrived).await
    }

    /// Applies the entries, waiting out what time heals; comes to the reason of what belongs to an entry.
    async fn apply_patiently(
        &self,
        receiver: &Receiver,
        entries: &[Entry<'_>],
    ) -> Result<Result<(), String>, BrokerError> {
        let item = self.health.item("database");
        let (mut attempt, mut contended) = (0, 0);
        loop {
            match self.apply(entries).await {
                Ok(()) => {
                    if attempt > 0 {
                        item.up();
                    }
                    return Ok(Ok(()));
                }
                Err(Failure::Message(reason)) => return Ok(Err(reason)),
                Err(Failure::Contention(reason)) if contended == CONTENTION_REPEATS => {
                    return Ok(Err(reason));
                }
                Err(Failure::Contention(_)) => contended += 1,
                Err(Failure::Infrastructure(reason)) => item.down(reason),
            }
            tokio::time::sleep(runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP)).await;
            attempt += 1;
            // To hold them now would only hide that the broker is away; they come again.
            if !receiver.is_open() {
                return Err(BrokerError::Unavailable("the channel is gone".to_owned()));
            }
        }
    }

    /// The transaction: offset, inbox, dead letters and the handler's tables together.
    async fn apply(&self, entries: &[Entry<'_>]) -> Result<(), Failure> {
        let Some(last) = entries.last() else { return Ok(()) };
        let begun = Instant::now();
        let mut tx = runtime::database::begin(&self.pool).await.map_err(Failure::not_of_a_message)?;
        failpoint::hit(Failpoint::AfterBegin);
        let from = lock_offset(&mut tx).await.map_err(Failure::not_of_a_message)?;
        let entries: Vec<_> = entries.iter().filter(|entry| entry.offset >= from).collect();
        if entries.is_empty() {
            return Ok(());
        }
        keep_dead_letters(&mut tx, &entries).await?;
        let sound: Vec<_> = entries.iter().filter_map(|entry| entry.event.as_ref().ok()).collect();
        let ids: Vec<Uuid> = sound.iter().map(|delivery| delivery.envelope.id).collect();
        let mut fresh = inbox::enter(&mut tx, &ids).await.map_err(Failure::not_of_a_message)?;
        let batch: Vec<Delivery> =
            sound.into_iter().filter(|delivery| fresh.remove(&delivery.envelope.id)).cloned().collect();
        self.handle(&mut tx, &batch).await?;
        save_offset(&mut tx, last.offset + 1).await?;
        failpoint::hit(Failpoint::BeforeCommit);
        tx.commit().await?;
        failpoint::hit(Failpoint::AfterCommit);
        METRICS.consumed(entries.len(), begun.elapsed());
        Ok(())
    }

    async fn handle(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        match AssertUnwindSafe(self.handler.handle(conn, batch)).catch_unwind().await {
            Ok(handled) => Ok(handled?),
            Err(panic) => Err(Failure::from_panic(panic.as_ref())),
        }
    }
}

impl<H: StreamHandler> Session for StreamReader<H> {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        tokio::select! {
            ended = self.read(item) => ended,
            // A transaction that is cut off here is applied again later: its offset was not saved.
            () = shutdown.cancelled() => Ok(()),
        }
    }
}

impl<'a> Entry<'a> {
    fn of(message: &'a RawMessage) -> Option<Self> {
        let offset = message.stream_offset()?;
        let event = match Envelope::from_json(message.body()) {
            Ok(envelope) => Ok(Delivery::new(envelope, topology::EVENT_STREAM)),
            Err(error) => Err(with_sources(&error)),
        };
        Some(Self { offset, message, event })
    }
}

fn away(error: &sqlx::Error) -> BrokerError {
    BrokerError::Unavailable(format!("database: {}", with_sources(error)))
}

/// The offset to go on from: 0 when the log was never read.
async fn next_offset(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query!(
        "insert into messaging.stream_offsets (stream, next_offset) values ($1, 0) on conflict do nothing",
        topology::EVENT_STREAM
    )
    .execute(&mut *conn)
    .await?;
    lock_offset(conn).await
}

async fn lock_offset(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select next_offset from messaging.stream_offsets where stream = $1 for no key update",
        topology::EVENT_STREAM
    )
    .fetch_one(conn)
    .await
}

async fn save_offset(conn: &mut PgConnection, offset: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "update messaging.stream_offsets set next_offset = $2 where stream = $1",
        topology::EVENT_STREAM,
        offset
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn keep_dead_letters(conn: &mut PgConnection, entries: &[&Entry<'_>]) -> sqlx::Result<()> {
    let (mut offsets, mut reasons, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        if let Err(reason) = &entry.event {
            tracing::error!(
                offset = entry.offset,
                reason,
                "an event could not be applied and is a dead letter"
            );
            offsets.push(entry.offset);
            reasons.push(reason.clone());
            bodies.push(entry.message.body().to_vec());
        }
    }
    if offsets.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into messaging.stream_dead_letters (stream, stream_offset, reason, body)
         select $1, * from unnest($2::bigint[], $3::text[], $4::bytea[])
         on conflict do nothing",
        topology::EVENT_STREAM,
        &offsets,
        &reasons,
        &bodies,
    )
    .execute(conn)
    .await?;
    Ok(())
}
