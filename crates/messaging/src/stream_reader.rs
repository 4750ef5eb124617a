//! The event stream, read with an exactly-once effect: the next offset and an inbox are stored in the transaction that
//! handles the events.
//!
//! One replica reads at a time, by an advisory lock. An event that fails becomes a row of the dead-letter table in the
//! same transaction, and the reader continues after it. It is tried again when a person requests its replay.

mod replay;
mod store;

use std::time::Duration;

use amqp::supervise::{Session, supervise};
use amqp::{Broker, BrokerError, RawMessage, Receiver, ReceiverConnection, topology};
use contracts::{EventSet, Versions};
use runtime::error::with_sources;
use runtime::health::{Health, HealthItem};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::delivery::{Delivery, decode};
use crate::effects::Effects;
use crate::failpoint::{self, Failpoint};
use crate::failure_policy::{BatchOutcome, BatchTransaction, Failure, commit_batch};
use crate::inbox;
use crate::metrics::METRICS;
use crate::reaction::{Reaction, react};
use crate::throttle::{self, BatchThrottle};

/// How often a replica that does not read tries to become the reader.
const LOCK_INTERVAL: Duration = Duration::from_millis(500);
const REPLAY_INTERVAL: Duration = Duration::from_secs(1);

pub struct StreamReader<R> {
    pub broker: Broker,
    pub pool: PgPool,
    pub health: Health,
    pub reaction: R,
}

/// A message of the stream: an event, or the reason why it is a dead letter.
struct StreamItem<'a, E> {
    offset: i64,
    message: &'a RawMessage,
    event: Result<Delivery<E>, String>,
}

impl<R: Reaction> StreamReader<R> {
    /// Reads until the shutdown. Fails when the broker refuses the user at the first connection.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        supervise(&self.health.item("consuming"), &shutdown, &self).await
    }

    async fn read(&self, item: &HealthItem) -> Result<(), BrokerError> {
        // Before the lock: a replica that the broker refuses is not ready to take over.
        let connection = ReceiverConnection::open(&self.broker, "stream reader").await?;
        let (_lock, offset) = self
            .become_reader(item)
            .await
            .map_err(|error| BrokerError::Unavailable(format!("database: {}", with_sources(&error))))?;
        let mut receiver = connection.event_stream(offset).await?;
        let mut throttle = BatchThrottle::new(throttle::BACKGROUND_INTERVAL);
        item.up();
        let mut replays = interval(REPLAY_INTERVAL);
        replays.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = async {
                throttle.ready().await;
                receiver.receive().await
            };
            let received = tokio::select! {
                received = next => received?,
                _ = replays.tick() => {
                    replay::replay_requested(&self.pool, &self.reaction).await;
                    continue;
                }
            };
            throttle.begin_with(received.len(), self.broker.config().batch.into());
            let versions = self.reaction.versions();
            let items: Vec<_> =
                received.iter().filter_map(|message| StreamItem::of(&versions, message)).collect();
            let transaction = StreamTransaction { reader: self, receiver: &receiver };
            match commit_batch(&self.health, &transaction, items).await {
                BatchOutcome::Committed => receiver.ack_through(&received).await?,
                // The next session starts at the stored offset.
                BatchOutcome::Interrupted | BatchOutcome::Failed(_) => {
                    return Err(BrokerError::Unavailable("a batch of the stream was interrupted".to_owned()));
                }
            }
        }
    }

    /// Waits until no other replica reads. The lock lives as long as the connection.
    async fn become_reader(&self, item: &HealthItem) -> sqlx::Result<(PgConnection, i64)> {
        let options = self.pool.connect_options();
        let mut conn = PgConnection::connect_with(&options).await?;
        while !store::try_lock(&mut conn).await? {
            // Another replica reads: this one is ready to take over.
            item.up();
            tokio::time::sleep(LOCK_INTERVAL).await;
        }
        let offset = store::next_offset(&mut conn).await?;
        Ok((conn, offset))
    }
}

impl<R: Reaction> Session for StreamReader<R> {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        // A transaction that is cut off here is repeated by the next reader: its offset was not stored.
        shutdown.run_until_cancelled(self.read(item)).await.unwrap_or(Ok(()))
    }
}

impl<'a, E: EventSet> StreamItem<'a, E> {
    fn of(versions: &Versions<E>, message: &'a RawMessage) -> Option<Self> {
        let offset = message.stream_offset()?;
        let event =
            decode(versions, message).map(|envelope| Delivery::new(envelope, topology::EVENT_STREAM, 0));
        Some(Self { offset, message, event })
    }
}

struct StreamTransaction<'a, R> {
    reader: &'a StreamReader<R>,
    receiver: &'a Receiver,
}

impl<'a, R: Reaction> BatchTransaction for StreamTransaction<'a, R> {
    type Item = StreamItem<'a, R::Event>;

    /// Offset, inbox, dead letters and the reaction's tables in one transaction.
    async fn commit(&self, items: &mut Vec<StreamItem<'a, R::Event>>) -> Result<(), Failure> {
        let Some(last) = items.last().map(|item| item.offset) else { return Ok(()) };
        let begun = Instant::now();
        let mut tx = runtime::database::begin(&self.reader.pool).await.map_err(Failure::of_no_item)?;
        failpoint::hit(Failpoint::AfterBegin);
        // Waits for a reader that lost its lock and has not noticed. What it committed is not applied again.
        let from = store::lock_offset(&mut tx).await.map_err(Failure::of_no_item)?;
        items.retain(|item| item.offset >= from);
        if items.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = items.iter().filter_map(|item| item.event.as_ref().ok()).collect();
        let dead = items
            .iter()
            .filter_map(|item| Some((item.offset, item.event.as_ref().err()?, item.message.body())));
        let dead: Vec<_> = dead.collect();
        store::insert_dead_letters(&mut tx, &dead).await?;
        let ids: Vec<Uuid> = events.iter().map(|event| event.envelope.id).collect();
        let mut fresh = inbox::enter(&mut tx, &ids).await.map_err(Failure::of_no_item)?;
        let fresh = events.into_iter().filter(|event| fresh.remove(&event.envelope.id));
        react_alone(&self.reader.reaction, &mut tx, fresh).await?;
        store::save_offset(&mut tx, last + 1).await?;
        failpoint::hit(Failpoint::BeforeCommit);
        tx.commit().await?;
        failpoint::hit(Failpoint::AfterCommitBeforePublish);
        METRICS.consumed(items.len(), begun.elapsed());
        METRICS.dead_lettered(topology::EVENT_STREAM, dead.len());
        Ok(())
    }

    fn may_repeat(&self) -> bool {
        self.receiver.is_open()
    }

    fn store_failure(&self, item: &mut StreamItem<'a, R::Event>, reason: &str) -> bool {
        tracing::error!(offset = item.offset, reason, "an event failed: it is a dead letter");
        item.event = Err(reason.to_owned());
        true
    }
}

/// A reader has no relay and no job runner, so its reaction changes its own tables and nothing else.
async fn react_alone<'a, R: Reaction>(
    reaction: &R,
    conn: &mut PgConnection,
    events: impl Iterator<Item = &'a Delivery<R::Event>>,
) -> Result<(), Failure> {
    let inputs: Vec<_> = events.filter_map(R::input).collect();
    let Effects { events, jobs } = react(reaction, conn, &inputs).await?;
    if events.is_empty() && jobs.is_empty() {
        return Ok(());
    }
    Err(Failure::Permanent("a reader of the event stream publishes no events and has no jobs".to_owned()))
}
