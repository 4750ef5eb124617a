//! The event stream, read with an exactly-once effect: the next offset and an inbox are stored in the transaction that
//! handles the events.
//!
//! One replica reads at a time, by a [lease](crate::lease). A message that fails becomes a [row](crate::failed_messages) in the
//! same transaction, and the reader continues after it. Only the reader tries it again, since it alone writes the
//! reaction's tables.

mod store;

use std::time::Duration;

use amqp::supervise::{Session, supervise};
use amqp::{Broker, BrokerError, Receiver, ReceiverConnection};
use contracts::EventSet;
use runtime::database::{ANSWER_TIMEOUT, answer};
use runtime::error::with_sources;
use runtime::health::{Health, HealthItem};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::consumer::restore_bindings;
use crate::effects::Effects;
use crate::failed_messages::{Applied, Item, Rejection, Retrier, RetryConfig, Source};
use crate::failpoint::{self, Failpoint};
use crate::failure_policy::{BatchOutcome, BatchTransaction, Failure, commit_batch};
use crate::lease::Lease;
use crate::metrics::METRICS;
use crate::reaction::Reaction;
use crate::throttle::{self, BatchThrottle};
use crate::unit_of_work::Commit;

/// The name of the reader's lease.
const LEASE: &str = "reader";
/// How often a replica that does not read tries to become the reader.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
/// How often to restore the stream's binding.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

pub struct StreamReader<R> {
    pub broker: Broker,
    pub pool: PgPool,
    pub health: Health,
    pub retries: RetryConfig,
    pub reaction: R,
}

/// How a transaction of a reader begins and ends. Without relay and job runner, its reaction changes its own tables and
/// nothing else.
#[derive(Debug, Clone)]
struct Alone {
    /// Of its lease.
    token: i64,
    /// Cancelled when another replica reads.
    lost: CancellationToken,
}

impl Alone {
    /// The offset to go on at, locked. Waits for a reader that lost its lease and has not noticed; what it committed is
    /// not applied again.
    async fn lock_offset(&self, conn: &mut PgConnection) -> sqlx::Result<i64> {
        let locked = store::lock_offset(conn, self.token).await;
        if let Err(sqlx::Error::RowNotFound) = locked {
            self.lost.cancel();
        }
        locked
    }
}

impl<E: EventSet> Commit<E> for Alone {
    async fn begin(&self, pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
        let mut tx = runtime::database::begin(pool).await?;
        failpoint::hit(Failpoint::AfterBegin);
        self.lock_offset(&mut tx).await?;
        Ok(tx)
    }

    fn is_over(&self) -> bool {
        self.lost.is_cancelled()
    }

    async fn commit(&self, tx: Transaction<'static, Postgres>, effects: Effects<E>) -> Result<(), Failure> {
        if !effects.events.is_empty() || !effects.jobs.is_empty() {
            let reason = "a reader of the event stream publishes no events and has no jobs";
            return Err(Failure::Permanent(reason.to_owned()));
        }
        failpoint::hit(Failpoint::BeforeCommit);
        tx.commit().await?;
        failpoint::hit(Failpoint::AfterCommitBeforePublish);
        Ok(())
    }
}

impl<R: Reaction> StreamReader<R> {
    /// Reads until the shutdown. Fails when the broker refuses the user at the first connection.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        supervise(&self.health.item("consuming"), &shutdown, &self).await
    }

    async fn read(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        // Before the lease: a replica that the broker refuses is not ready to take over.
        let connection = ReceiverConnection::open(&self.broker, "stream reader").await?;
        let (mut conn, mut lease, offset) = self.become_reader(item).await.map_err(unavailable)?;
        let alone = Alone { token: lease.token, lost: CancellationToken::new() };
        let mut receiver = connection.event_stream(offset).await?;
        let source = Source::stream(self.reaction.versions(), self.retries.clone());
        let retrier = self.retrier(&source, alone.clone(), shutdown);
        let mut throttle = BatchThrottle::new(throttle::BACKGROUND_INTERVAL);
        item.up();
        let mut looks = interval(retrier.look_interval());
        let mut upkeep = interval(UPKEEP_INTERVAL);
        for ticks in [&mut looks, &mut upkeep] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let next = async {
                throttle.ready().await;
                receiver.receive().await
            };
            let received = tokio::select! {
                received = next => received?,
                _ = looks.tick() => {
                    lease.renew(&mut conn).await.map_err(unavailable)?;
                    retrier.try_due().await;
                    continue;
                }
                _ = upkeep.tick() => {
                    restore_bindings(&receiver, &self.broker, &self.health).await?;
                    continue;
                }
            };
            throttle.begin_with(received.len(), self.broker.config().batch.into());
            let items = received.iter().map(|message| source.item(message));
            let transaction = StreamTransaction {
                reader: self,
                receiver: &receiver,
                source: &source,
                alone: alone.clone(),
            };
            match commit_batch(&self.health, &transaction, items.collect()).await {
                BatchOutcome::Committed => receiver.ack_through(&received).await?,
                // The next session starts at the stored offset.
                BatchOutcome::Interrupted | BatchOutcome::Failed(_) => {
                    return Err(BrokerError::Unavailable("a batch of the stream was interrupted".to_owned()));
                }
            }
        }
    }

    fn retrier<'a>(
        &'a self,
        source: &'a Source<R::Event>,
        commit: Alone,
        shutdown: &'a CancellationToken,
    ) -> Retrier<'a, R, Alone> {
        let Self { pool, health, reaction, .. } = self;
        Retrier { pool, health, source, reaction, commit, shutdown }
    }

    /// Waits until no other replica reads. The lease ends with the connection, at the latest.
    async fn become_reader(&self, item: &HealthItem) -> sqlx::Result<(PgConnection, Lease, i64)> {
        let options = self.pool.connect_options();
        let mut conn = answer(ANSWER_TIMEOUT, PgConnection::connect_with(&options)).await?;
        let lease = loop {
            if let Some(lease) = answer(ANSWER_TIMEOUT, Lease::try_acquire(&mut conn, LEASE)).await? {
                break lease;
            }
            // Another replica reads: this one is ready to take over.
            item.up();
            tokio::time::sleep(FOLLOW_INTERVAL).await;
        };
        let offset = answer(ANSWER_TIMEOUT, store::next_offset(&mut conn, lease.token)).await?;
        Ok((conn, lease, offset))
    }
}

fn unavailable(error: impl std::error::Error) -> BrokerError {
    BrokerError::Unavailable(format!("database: {}", with_sources(&error)))
}

impl<R: Reaction> Session for StreamReader<R> {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        // A transaction that is cut off here is repeated by the next reader: its offset was not stored.
        shutdown.run_until_cancelled(self.read(item, shutdown)).await.unwrap_or(Ok(()))
    }
}

struct StreamTransaction<'a, R: Reaction> {
    reader: &'a StreamReader<R>,
    receiver: &'a Receiver,
    source: &'a Source<R::Event>,
    alone: Alone,
}

impl<'a, R: Reaction> BatchTransaction for StreamTransaction<'a, R> {
    type Item = Item<'a, R::Event>;

    /// Offset, inbox, failed messages and the reaction's tables in one transaction.
    async fn commit(&self, items: &mut Vec<Item<'a, R::Event>>) -> Result<(), Failure> {
        let Some(last) = items.iter().filter_map(|item| item.message.stream_offset()).max() else {
            return Ok(());
        };
        let begun = Instant::now();
        let mut tx = runtime::database::begin(&self.reader.pool).await.map_err(Failure::of_no_item)?;
        failpoint::hit(Failpoint::AfterBegin);
        let from = self.alone.lock_offset(&mut tx).await.map_err(Failure::of_no_item)?;
        items.retain(|item| item.message.stream_offset().is_some_and(|offset| offset >= from));
        let applied = self.source.apply(&self.reader.reaction, &mut tx, items).await?;
        let (effects, count) =
            applied.map_or_else(Default::default, |Applied { effects, count }| (effects, count));
        store::save_offset(&mut tx, from.max(last + 1)).await?;
        self.alone.commit(tx, effects).await?;
        METRICS.consumed(count, begun.elapsed());
        self.source.report(items);
        Ok(())
    }

    fn may_repeat(&self) -> bool {
        self.receiver.is_open() && !self.alone.lost.is_cancelled()
    }

    fn store_failure(&self, item: &mut Item<'a, R::Event>, failure: &Failure) -> bool {
        item.event = Err(Rejection::of(failure));
        true
    }
}
