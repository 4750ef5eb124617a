//! The consumer: one batch, one transaction, one acknowledgement.
//!
//! It takes what has arrived, enters the ids into the inbox, gives the fresh messages to the handler, writes what
//! they caused into the outbox, commits, and acknowledges. The number of statements does not grow with the batch.
//! What happens when that fails stands in [`failure`](crate::failure).

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, time::Duration};

use amqp::supervise::{Session, supervise};
use amqp::{Broker, BrokerError, Publisher, RawMessage, Receiver, topology};
use contracts::{Envelope, EventType, TraceContext};
use futures::FutureExt;
use runtime::error::with_sources;
use runtime::health::{Health, HealthItem};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::failpoint::{self, Failpoint};
use crate::failure::{Failure, HandlerError};
use crate::metrics::METRICS;
use crate::outbox::{CausationContext, Effects, Outbox};
use crate::throttle::{self, BatchThrottle};
use crate::{inbox, retry, trace};

const CONTENTION_REPEATS: u32 = 10;
const BACKOFF_BASE: Duration = Duration::from_millis(20);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
/// Longer than the database lets a stuck session live: beyond it, its network fell silent.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a shutdown waits for a transaction, and then for what failed to be put aside; together less than it may
/// take. What is not done by then goes back to the queue.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(4);

/// An event that arrived.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event.
    pub envelope: Envelope,
    span: Span,
    trace: TraceContext,
}

impl Delivery {
    pub fn new(envelope: Envelope, queue: &str) -> Self {
        let name = envelope.event.event_type().name();
        let span = tracing::info_span!(
            "process",
            otel.name = format!("process {name}"),
            otel.kind = "consumer",
            messaging.system = "rabbitmq",
            messaging.operation.type = "process",
            messaging.destination.name = queue,
            messaging.rabbitmq.destination.routing_key = name,
            messaging.message.id = %envelope.id,
            messaging.message.conversation_id = envelope.event.order_id().map(field::display),
        );
        let trace = trace::continue_in(&span, &envelope.trace);
        Self { envelope, span, trace }
    }

    /// The origin of what this event causes.
    #[must_use]
    pub fn origin(&self) -> CausationContext {
        CausationContext { cause: Some(self.envelope.id), trace: self.trace.clone() }
    }
}

/// What a service does with the events that it subscriptions.
pub trait Handler: Send + Sync + 'static {
    /// How often a batch begins under load. Longer makes batches larger and cheaper, and what is in them later.
    const PACE: Duration = throttle::INTERVAL;

    /// Takes a batch of fresh events in the given transaction: load many, fold `react` over them in their order,
    /// save many. Inbox, outbox, jobs and commit are the consumer's.
    ///
    /// The events of one order may come in any order; the handler must come to the same end. It may be called
    /// again with the same events after an error, in a new transaction.
    fn handle(
        &self,
        conn: &mut PgConnection,
        batch: &[Delivery],
    ) -> impl Future<Output = Result<Effects, HandlerError>> + Send;
}

/// The consumer of a service's events queue.
pub struct Consumer<H> {
    pub broker: Broker,
    /// The events that the service subscribes to; every other message is a dead letter.
    pub subscriptions: &'static [EventType],
    /// The publisher that the failure branch uses.
    pub publisher: Publisher,
    /// The service's database.
    pub pool: PgPool,
    /// The service's outbox.
    pub outbox: Outbox,
    /// Where readiness is told.
    pub health: Health,
    /// What to do with the events.
    pub handler: H,
}

impl<H: Handler> Consumer<H> {
    /// Consumes until the shutdown; then what is in hand is finished, and the rest goes back to the queue.
    ///
    /// # Errors
    /// When the broker refuses the user, or has a queue with other arguments, at the first try.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let item = self.health.item("consuming");
        Ok(supervise(&item, &shutdown, &self).await?)
    }

    /// Works a batch off and acknowledges it; false when it was left as it is, since the shutdown came
    /// first or the channel is gone.
    async fn work_off(
        &self,
        receiver: &Receiver,
        arrived: &[RawMessage],
        shutdown: &CancellationToken,
    ) -> Result<bool, BrokerError> {
        let (sound, poison) = self.decode(arrived);
        let Some(failed) = self.apply_all(receiver, &sound, shutdown).await else {
            return Ok(false);
        };
        if !failed.is_empty() || !poison.is_empty() {
            let settled = self.schedule_retry(&failed, &poison);
            match before_end_of(shutdown, SHUTDOWN_GRACE, settled).await {
                Some(done) => done?,
                None => return Ok(false),
            }
        }
        failpoint::hit(Failpoint::BeforeAck);
        // Everything up to the last: batches are worked off one after the other.
        receiver.ack_through(arrived).await?;
        failpoint::hit(Failpoint::AfterAck);
        Ok(true)
    }

    /// Applies the batch, one by one when one of it fails in its own right, and gives back those that did;
    /// nothing when the shutdown came first, or the channel is gone.
    async fn apply_all<'a>(
        &self,
        receiver: &Receiver,
        sound: &[(&'a RawMessage, Delivery)],
        shutdown: &CancellationToken,
    ) -> Option<Failed<'a>> {
        let deliveries: Vec<_> = sound.iter().map(|(_, delivery)| delivery.clone()).collect();
        match (self.apply_patiently(receiver, &deliveries, shutdown).await, sound) {
            (Applied::Done, _) => return Some(Vec::new()),
            (Applied::Interrupted, _) => return None,
            (Applied::Failed(reason), [(message, _)]) => return Some(vec![(message, reason)]),
            (Applied::Failed(_), _) => {}
        }
        let mut failed = Vec::new();
        for (message, delivery) in sound {
            match self.apply_patiently(receiver, std::slice::from_ref(delivery), shutdown).await {
                Applied::Done => {}
                Applied::Interrupted => return None,
                Applied::Failed(reason) => failed.push((*message, reason)),
            }
        }
        Some(failed)
    }

    /// Sends what failed to a retry queue, and poison to the dead letters. Last of all: a batch that is cut off before
    /// comes again, and would be put aside again.
    async fn schedule_retry(&self, failed: &Failed<'_>, poison: &Failed<'_>) -> Result<(), BrokerError> {
        for (message, reason) in poison {
            retry::dead_letter(&self.broker, &self.publisher, message, reason).await?;
        }
        for (message, reason) in failed {
            retry::schedule_retry(&self.broker, &self.publisher, message, reason).await?;
        }
        Ok(())
    }

    /// Parts what is an event that is heard here from poison, which comes with its reason.
    fn decode<'a>(&self, arrived: &'a [RawMessage]) -> (Vec<(&'a RawMessage, Delivery)>, Failed<'a>) {
        let queue = topology::events_queue(self.broker.service());
        let (mut sound, mut poison) = (Vec::new(), Vec::new());
        for message in arrived {
            match Envelope::from_json(message.body()) {
                Ok(envelope) if self.subscriptions.contains(&envelope.event.event_type()) => {
                    sound.push((message, Delivery::new(envelope, &queue)));
                }
                Ok(envelope) => {
                    poison.push((message, format!("{} is not heard here", envelope.event.event_type())));
                }
                Err(error) => poison.push((message, with_sources(&error))),
            }
        }
        (sound, poison)
    }

    /// Applies the batch, waiting out what time heals; fails only for what belongs to a message.
    async fn apply_patiently(
        &self,
        receiver: &Receiver,
        batch: &[Delivery],
        shutdown: &CancellationToken,
    ) -> Applied {
        let item = self.health.item("database");
        let (mut held, mut contended) = (0, 0);
        loop {
            let applied = in_time(apply(&self.pool, &self.outbox, &self.handler, batch));
            let failure = match before_end_of(shutdown, SHUTDOWN_GRACE, applied).await {
                None => return Applied::Interrupted,
                Some(Ok(())) => {
                    if held > 0 {
                        item.up();
                    }
                    return Applied::Done;
                }
                Some(Err(failure)) => failure,
            };
            let attempt = match &failure {
                Failure::Infrastructure(reason) => {
                    item.down(reason.clone());
                    held += 1;
                    held
                }
                Failure::Contention(_) if contended < CONTENTION_REPEATS => {
                    contended += 1;
                    contended
                }
                Failure::Contention(reason) | Failure::Message(reason) => {
                    return Applied::Failed(reason.clone());
                }
            };
            tracing::debug!(%failure, attempt, "the batch is repeated");
            let wait = tokio::time::sleep(runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP));
            // Without its channel the broker has taken the batch back, and to hold it would only hide that.
            if shutdown.run_until_cancelled(wait).await.is_none() || !receiver.is_open() {
                return Applied::Interrupted;
            }
        }
    }
}

/// The transaction of a batch.
pub async fn apply<H: Handler>(
    pool: &PgPool,
    outbox: &Outbox,
    handler: &H,
    batch: &[Delivery],
) -> Result<(), Failure> {
    if batch.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = batch.iter().map(|delivery| delivery.envelope.id).collect();
    let begun = Instant::now();
    let mut tx = runtime::database::begin(pool).await.map_err(Failure::not_of_a_message)?;
    failpoint::hit(Failpoint::AfterBegin);
    let mut fresh = inbox::enter(&mut tx, &ids).await.map_err(Failure::not_of_a_message)?;
    let batch = only_fresh(batch, &mut fresh);
    if batch.is_empty() {
        return Ok(());
    }
    let span = batch.first().map_or_else(Span::none, |delivery| delivery.span.clone());
    let handled = AssertUnwindSafe(handler.handle(&mut tx, &batch)).catch_unwind().instrument(span);
    let effects = match handled.await {
        Ok(handled) => handled?,
        Err(panic) => return Err(Failure::from_panic(panic.as_ref())),
    };
    outbox.commit(tx, effects).await?;
    METRICS.consumed(batch.len(), begun.elapsed());
    Ok(())
}

impl<H: Handler> Session for Consumer<H> {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let mut receiver = Receiver::of_events_queue(&self.broker).await?;
        let mut throttle = BatchThrottle::new(H::PACE);
        item.up();
        loop {
            let next = async {
                throttle.ready().await;
                receiver.receive().await
            };
            let arrived = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                arrived = next => arrived?,
            };
            throttle.begin_with(arrived.len(), self.broker.config().batch.into());
            if !self.work_off(&receiver, &arrived, shutdown).await? {
                break;
            }
            throttle.end();
        }
        receiver.close().await
    }
}

/// Messages that are not in effect, each with its reason.
type Failed<'a> = Vec<(&'a RawMessage, String)>;

enum Applied {
    Done,
    Interrupted,
    Failed(String),
}

/// What the transaction comes to. One that a database that fell silent keeps from its end has failed.
pub(crate) async fn in_time(transaction: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    timeout(TRANSACTION_TIMEOUT, transaction).await.unwrap_or_else(|elapsed| {
        Err(Failure::Infrastructure(format!("a transaction did not end: {elapsed}")))
    })
}

/// What the work comes to; nothing when it is not done by `grace` after the shutdown. A database that fell silent, or a
/// broker that blocks publishers, may keep it waiting for longer than a shutdown takes.
pub(crate) async fn before_end_of<T>(
    shutdown: &CancellationToken,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let end = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        done = work => Some(done),
        () = end => None,
    }
}

/// The deliveries whose ids are new, each id once: a relay that published an event twice may do so in one batch.
fn only_fresh(batch: &[Delivery], fresh: &mut HashSet<Uuid>) -> Vec<Delivery> {
    batch.iter().filter(|delivery| fresh.remove(&delivery.envelope.id)).cloned().collect()
}
