//! The consumer: one batch, one transaction, one acknowledgement.
//!
//! It receives the messages that have arrived, enters their ids into the inbox, lets the [`Reaction`] take those that are
//! not in effect yet, writes the effects and the [messages that failed](crate::failed_messages), commits, and
//! acknowledges. The number of statements does not grow with the batch. The [failure policy](crate::failure_policy) says
//! what happens when that fails.

use std::time::Duration;

use amqp::supervise::{Session, supervise};
use amqp::{Broker, BrokerError, PolledQueue, RawMessage, Receiver, ReceiverConnection, topology};
use runtime::health::{Health, HealthItem};
use runtime::shutdown::before_end_of;
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;
use crate::failed_messages::{Applied, Item, Rejection, Retrier, Source, react_to};
use crate::failpoint::{self, Failpoint};
use crate::failure_policy::{BatchOutcome, BatchTransaction, Failure, commit_batch};
use crate::inbox;
use crate::metrics::METRICS;
use crate::reaction::Reaction;
use crate::throttle::BatchThrottle;
use crate::unit_of_work::UnitOfWork;

/// How long a shutdown waits for a transaction. The broker requeues what is not done by then.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);
/// How often to restore the bindings, and to look for messages that the broker dead-lettered itself.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

pub struct Consumer<R: Reaction> {
    pub broker: Broker,
    pub pool: PgPool,
    pub unit_of_work: UnitOfWork,
    pub health: Health,
    pub source: Source<R::Event>,
    pub reaction: R,
}

impl<R: Reaction> Consumer<R> {
    /// Consumes until the shutdown; then the current batch is finished, and the broker requeues the rest. Fails when the
    /// broker refuses the user, or has a queue with other arguments, at the first connection.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        // Of the retries, which end with the consumer.
        let stop = shutdown.child_token();
        let retrier = Retrier {
            pool: &self.pool,
            health: &self.health,
            source: &self.source,
            reaction: &self.reaction,
            commit: self.unit_of_work.clone(),
            shutdown: &stop,
        };
        let item = self.health.item("consuming");
        let consume = async {
            let consumed = supervise(&item, &shutdown, &self).await;
            stop.cancel();
            consumed
        };
        tokio::join!(consume, before_end_of(&stop, SHUTDOWN_GRACE, retrier.run())).0
    }

    /// Handles the messages: afterwards each of them is in effect, or stored as failed. False when the shutdown came first.
    async fn handle(
        &self,
        receiver: &Receiver,
        items: Vec<Item<'_, R::Event>>,
        shutdown: &CancellationToken,
    ) -> Result<bool, BrokerError> {
        let transaction = EventTransaction { consumer: self, receiver, shutdown };
        let commit = commit_batch(&self.health, &transaction, items);
        match before_end_of(shutdown, SHUTDOWN_GRACE, commit).await {
            Some(BatchOutcome::Committed) => Ok(true),
            _ if shutdown.is_cancelled() => Ok(false),
            _ => Err(BrokerError::Unavailable("a batch was interrupted".to_owned())),
        }
    }

    /// Stores what the broker dead-lettered itself, because it was delivered too often.
    async fn drain(
        &self,
        receiver: &Receiver,
        backstop: &PolledQueue,
        shutdown: &CancellationToken,
    ) -> Result<bool, BrokerError> {
        loop {
            let messages = backstop.take(self.broker.config().batch).await?;
            if messages.is_empty() {
                return Ok(true);
            }
            let items = messages.iter().map(|message| Item { message, event: Err(given_up(message)) });
            if !self.handle(receiver, items.collect(), shutdown).await? {
                return Ok(false);
            }
            backstop.remove(&messages).await?;
        }
    }
}

/// Declares the bindings again. A broker that refuses it takes nothing from what is consumed.
pub(crate) async fn restore_bindings(
    receiver: &Receiver,
    broker: &Broker,
    health: &Health,
) -> Result<(), BrokerError> {
    match receiver.bind_again(broker).await {
        Err(error @ BrokerError::Refused(_)) => {
            health.note("bindings", format!("they cannot be restored: {error}"));
            Ok(())
        }
        done => {
            health.drop_note("bindings");
            done
        }
    }
}

fn given_up(message: &RawMessage) -> Rejection {
    Rejection::GivenUp(match message.headers().latest_death() {
        Some(death) => format!("dead-lettered by the broker in {}: {}", death.queue, death.reason),
        None => "found in the broker's queue of dead letters".to_owned(),
    })
}

impl<R: Reaction> Session for Consumer<R> {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let connection = ReceiverConnection::open(&self.broker, "consumer").await?;
        let mut receiver = connection.events_queue(&self.broker).await?;
        let backstop = receiver.poll(topology::dead_letter_queue(self.broker.service())).await?;
        let mut throttle = BatchThrottle::new(R::INTERVAL);
        let mut upkeep = interval(UPKEEP_INTERVAL);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        item.up();
        loop {
            let next = async {
                // While the throttle waits, messages arrive, and the batch becomes larger.
                throttle.ready().await;
                receiver.receive().await
            };
            let received = tokio::select! {
                // A batch that is received in a shutdown would only be requeued.
                biased;
                () = shutdown.cancelled() => break,
                received = next => received?,
                _ = upkeep.tick() => {
                    restore_bindings(&receiver, &self.broker, &self.health).await?;
                    if !self.drain(&receiver, &backstop, shutdown).await? {
                        break;
                    }
                    continue;
                }
            };
            throttle.begin_with(received.len(), self.broker.config().batch.into());
            let items = received.iter().map(|message| self.source.item(message)).collect();
            if !self.handle(&receiver, items, shutdown).await? {
                break;
            }
            failpoint::hit(Failpoint::AfterCommitBeforeAck);
            // One acknowledgement for all: batches are handled one after the other.
            receiver.ack_through(&received).await?;
            failpoint::hit(Failpoint::AfterAck);
            throttle.end();
        }
        receiver.close().await
    }
}

struct EventTransaction<'a, R: Reaction> {
    consumer: &'a Consumer<R>,
    receiver: &'a Receiver,
    shutdown: &'a CancellationToken,
}

impl<'a, R: Reaction> BatchTransaction for EventTransaction<'a, R> {
    type Item = Item<'a, R::Event>;

    async fn commit(&self, items: &mut Vec<Item<'a, R::Event>>) -> Result<(), Failure> {
        let Consumer { pool, unit_of_work, reaction, source, .. } = self.consumer;
        let begun = Instant::now();
        let mut tx = runtime::database::begin(pool).await.map_err(Failure::of_no_item)?;
        failpoint::hit(Failpoint::AfterBegin);
        let Some(Applied { effects, count }) = source.apply(reaction, &mut tx, items).await? else {
            return Ok(());
        };
        unit_of_work.commit(tx, effects).await?;
        METRICS.consumed(count, begun.elapsed());
        source.report(items);
        Ok(())
    }

    fn may_repeat(&self) -> bool {
        // Without its channel the broker has requeued the batch, and another replica may have it.
        self.receiver.is_open() && !self.shutdown.is_cancelled()
    }

    fn store_failure(&self, item: &mut Item<'a, R::Event>, failure: &Failure) -> bool {
        item.event = Err(Rejection::of(failure));
        true
    }
}

/// The transaction of a batch, for events that no broker brought.
pub async fn commit_events<R: Reaction>(
    pool: &PgPool,
    unit_of_work: &UnitOfWork,
    reaction: &R,
    batch: &[Delivery<R::Event>],
) -> Result<(), Failure> {
    let mut tx = runtime::database::begin(pool).await?;
    let ids: Vec<_> = batch.iter().map(|delivery| delivery.envelope.id).collect();
    let fresh = inbox::enter(&mut tx, &ids).await?;
    let deliveries: Vec<_> = batch.iter().filter(|delivery| fresh.contains(&delivery.envelope.id)).collect();
    let effects = react_to(reaction, &mut tx, &deliveries).await?;
    Ok(unit_of_work.commit(tx, effects).await?)
}
