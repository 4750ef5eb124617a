//! The consumer: one batch, one transaction, one acknowledgement.
//!
//! It receives the messages that have arrived, enters their ids into the inbox, lets the [`Reaction`] take those that are
//! not in effect yet, writes the effects, commits, and acknowledges. The number of statements does not grow with the
//! batch. The [failure policy](crate::failure_policy) says what happens when that fails.

use std::time::Duration;

use amqp::supervise::{Session, supervise};
use amqp::{Broker, BrokerError, Publisher, RawMessage, Receiver, ReceiverConnection, topology};
use contracts::EventSet;
use runtime::health::{Health, HealthItem};
use runtime::shutdown::before_end_of;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::delivery::{Delivery, decode};
use crate::failed_message::FailedMessage;
use crate::failpoint::{self, Failpoint};
use crate::failure_policy::{BatchOutcome, BatchTransaction, Failure, commit_batch};
use crate::inbox;
use crate::metrics::METRICS;
use crate::reaction::{Reaction, react};
use crate::throttle::BatchThrottle;
use crate::unit_of_work::UnitOfWork;

/// How long a shutdown waits for a transaction, and then for the retries that it schedules; both together take less time
/// than a shutdown may. The broker requeues what is not done by then.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);

pub struct Consumer<R> {
    pub broker: Broker,
    /// The names of the events that the service subscribes to; every other message is a dead letter.
    pub routing_keys: Vec<&'static str>,
    pub publisher: Publisher,
    pub pool: PgPool,
    pub unit_of_work: UnitOfWork,
    pub health: Health,
    pub reaction: R,
}

impl<R: Reaction> Consumer<R> {
    /// Consumes until the shutdown; then the current batch is finished, and the broker requeues the rest. Fails when the
    /// broker refuses the user, or has a queue with other arguments, at the first connection.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        supervise(&self.health.item("consuming"), &shutdown, &self).await
    }

    /// Separates the events that the service subscribes to from messages that no attempt can handle.
    fn decode<'a>(&self, received: &'a [RawMessage]) -> (Vec<Delivery<R::Event>>, Vec<FailedMessage<'a>>) {
        let (queue, versions) = (topology::events_queue(self.broker.service()), self.reaction.versions());
        let (mut events, mut failed) = (Vec::new(), Vec::new());
        for (position, message) in received.iter().enumerate() {
            let reason = match decode(&versions, message) {
                Ok(envelope) if self.routing_keys.contains(&envelope.event.row().name) => {
                    events.push(Delivery::new(envelope, &queue, position));
                    continue;
                }
                Ok(envelope) => format!("{} is not subscribed to here", envelope.event.row().name),
                Err(reason) => reason,
            };
            failed.push(FailedMessage { message, reason, may_retry: false });
        }
        (events, failed)
    }

    /// Handles the received messages: afterwards each of them is in effect, waits for its next attempt, or is a dead
    /// letter. False when the shutdown or a closed channel came first.
    async fn handle(
        &self,
        receiver: &Receiver,
        received: &[RawMessage],
        shutdown: &CancellationToken,
    ) -> Result<bool, BrokerError> {
        let (events, mut failed) = self.decode(received);
        let transaction = EventTransaction { consumer: self, receiver, shutdown };
        let commit = commit_batch(&self.health, &transaction, events);
        match before_end_of(shutdown, SHUTDOWN_GRACE, commit).await {
            Some(BatchOutcome::Committed) => {}
            Some(BatchOutcome::Interrupted) | None => return Ok(false),
            Some(BatchOutcome::Failed(events)) => failed.extend(events.into_iter().map(|(event, reason)| {
                FailedMessage { message: &received[event.position], reason, may_retry: true }
            })),
        }
        // After the commit: a batch that is interrupted before it comes again, and every retry would be scheduled twice.
        let publish = async {
            for message in &failed {
                message.publish(&self.broker, &self.publisher).await?;
            }
            Ok(true)
        };
        before_end_of(shutdown, SHUTDOWN_GRACE, publish).await.unwrap_or(Ok(false))
    }
}

impl<R: Reaction> Session for Consumer<R> {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let mut receiver =
            ReceiverConnection::open(&self.broker, "consumer").await?.events_queue(&self.broker).await?;
        let mut throttle = BatchThrottle::new(R::INTERVAL);
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
            };
            throttle.begin_with(received.len(), self.broker.config().batch.into());
            if !self.handle(&receiver, &received, shutdown).await? {
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

struct EventTransaction<'a, R> {
    consumer: &'a Consumer<R>,
    receiver: &'a Receiver,
    shutdown: &'a CancellationToken,
}

impl<R: Reaction> BatchTransaction for EventTransaction<'_, R> {
    type Item = Delivery<R::Event>;

    async fn commit(&self, batch: &mut Vec<Delivery<R::Event>>) -> Result<(), Failure> {
        let Consumer { pool, unit_of_work, reaction, .. } = self.consumer;
        commit_events(pool, unit_of_work, reaction, batch).await
    }

    fn may_repeat(&self) -> bool {
        // Without its channel the broker has requeued the batch, and another replica may have it.
        self.receiver.is_open() && !self.shutdown.is_cancelled()
    }
}

/// The transaction of a batch. Removes the events that are in effect already.
pub async fn commit_events<R: Reaction>(
    pool: &PgPool,
    unit_of_work: &UnitOfWork,
    reaction: &R,
    batch: &mut Vec<Delivery<R::Event>>,
) -> Result<(), Failure> {
    if batch.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = batch.iter().map(|delivery| delivery.envelope.id).collect();
    let begun = Instant::now();
    let mut tx = runtime::database::begin(pool).await.map_err(Failure::of_no_item)?;
    failpoint::hit(Failpoint::AfterBegin);
    let mut fresh = inbox::enter(&mut tx, &ids).await.map_err(Failure::of_no_item)?;
    // Each id once: a relay that published an event twice may have done so within one batch.
    batch.retain(|delivery| fresh.remove(&delivery.envelope.id));
    if batch.is_empty() {
        return Ok(());
    }
    let span = batch.first().map_or_else(Span::none, |delivery| delivery.span.clone());
    let inputs: Vec<_> = batch.iter().filter_map(R::input).collect();
    let effects = react(reaction, &mut tx, &inputs).instrument(span).await?;
    unit_of_work.commit(tx, effects).await?;
    METRICS.consumed(batch.len(), begun.elapsed());
    Ok(())
}
