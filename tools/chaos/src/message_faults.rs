//! Faults of the messages to one service: they arrive late, twice, out of order or with poison among them.
//!
//! While a fault is injected, the events go to a queue of this module instead of the service's, and from there to the
//! service's own exchange. Nothing is lost: a message is acknowledged once the broker has confirmed its copy. So it may
//! arrive twice, as any message may.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::EventType;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use strum::{IntoStaticStr, VariantArray};
use system::Service;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use amqp::connection::connect;
use amqp::topology::{Binding, EVENTS_EXCHANGE, Topology, events_queue, own_exchange};
use amqp::{
    BrokerError, ConfirmChannel, OutgoingMessage, RawMessage, ReceiverConnection, apply_topology,
    remove_topology,
};

const PURPOSE: &str = "message-faults";
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How often the messages are redirected while a fault is injected.
const REDIRECT_INTERVAL: Duration = Duration::from_secs(1);
/// How often held messages are looked at.
const TICK: Duration = Duration::from_millis(20);
/// How many messages are shuffled with each other, if so many arrive in time.
const WINDOW: usize = 50;
const WINDOW_TIME: Duration = Duration::from_millis(200);
/// How late a delayed message is, unless the fault ends earlier.
const DELAY: Duration = Duration::from_secs(60);
const POISON_PERCENT: u32 = 1;
/// How many messages may arrive at once: twice as many may be held.
const BATCH: u16 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum MessageFault {
    /// Each arrives twice.
    Doubled,
    /// Every 50 arrive in another order.
    Shuffled,
    /// Each arrives 60 s late, or when the fault ends.
    Delayed,
    /// One in a hundred is followed by a message that is no event.
    #[strum(serialize = "poison")]
    Poisoned,
    /// One in a hundred is followed by its copy in an unknown version.
    WrongVersion,
}

/// Injects message faults before one service, until it is dropped.
#[derive(Debug)]
pub struct MessageFaults {
    route: Arc<Route>,
    fault: watch::Sender<Option<MessageFault>>,
    held: watch::Receiver<usize>,
    injected: Arc<Mutex<BTreeSet<String>>>,
    _mover: JoinSet<()>,
}

#[derive(Debug)]
struct Route {
    amqp_url: String,
    service: Service,
    queue: String,
    /// Whether the events are to come here.
    through_here: AsyncMutex<bool>,
}

impl MessageFaults {
    /// Prepares the faults of a service, as a user with every right; `seed` determines the random choices.
    pub async fn open(amqp_url: &str, service: Service, seed: u64) -> anyhow::Result<Self> {
        let queue = format!("{service}.message-faults");
        let route = Arc::new(Route {
            amqp_url: amqp_url.to_owned(),
            service,
            queue,
            through_here: AsyncMutex::new(false),
        });
        route.declare().await?;
        let (fault, held) = (watch::Sender::new(None), watch::Sender::new(0));
        let mut mover = Mover {
            route: route.clone(),
            fault: fault.subscribe(),
            held: held.clone(),
            injected: Arc::default(),
            poison: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        };
        let injected = mover.injected.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { mover.run().await });
        Ok(Self { route, fault, held: held.subscribe(), injected, _mover: task })
    }

    /// Begins a fault. Waits until the broker is available.
    pub async fn inject(&self, fault: MessageFault) {
        self.fault.send_replace(Some(fault));
        while self.route.send_through_here(true).await.is_err() {
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Ends the fault; what is held goes on at once. Waits until the broker is available.
    pub async fn restore(&self) {
        while self.route.send_through_here(false).await.is_err() {
            sleep(RETRY_INTERVAL).await;
        }
        self.fault.send_replace(None);
    }

    /// Whether no message is on its way here.
    pub async fn is_empty(&self) -> anyhow::Result<bool> {
        let depths =
            amqp::inspect::depths(&self.route.amqp_url, std::slice::from_ref(&self.route.queue)).await?;
        Ok(depths.values().all(|depth| depth.messages == 0) && self.held() == 0)
    }

    #[must_use]
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }

    /// The ids of the injected poison messages, which must all become dead letters.
    #[must_use]
    pub fn injected(&self) -> BTreeSet<String> {
        self.injected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Route {
    /// The queue survives a crash of the broker, as those of the services do.
    async fn declare(&self) -> Result<(), BrokerError> {
        apply_topology(&self.amqp_url, &Topology::of_quorum_queue(&self.queue)).await
    }

    async fn send_through_here(&self, through_here: bool) -> Result<(), BrokerError> {
        let mut current = self.through_here.lock().await;
        *current = through_here;
        self.redirect(through_here).await
    }

    async fn redirect_again(&self) -> Result<(), BrokerError> {
        let through_here = self.through_here.lock().await;
        if *through_here { self.redirect(true).await } else { Ok(()) }
    }

    /// Binds one of the two queues, and then unbinds the other: meanwhile a message may go both ways.
    async fn redirect(&self, through_here: bool) -> Result<(), BrokerError> {
        let bindings = |queue: &str| {
            let binding = |event: &EventType| Binding {
                exchange: EVENTS_EXCHANGE.to_owned(),
                queue: queue.to_owned(),
                routing_key: event.name().to_owned(),
            };
            let bindings = self.service.subscriptions().iter().map(binding).collect();
            Topology { bindings, ..Topology::default() }
        };
        let (here, direct) = (bindings(&self.queue), bindings(&events_queue(self.service.as_str())));
        let (to, from) = if through_here { (here, direct) } else { (direct, here) };
        apply_topology(&self.amqp_url, &to).await?;
        remove_topology(&self.amqp_url, &from).await
    }
}

struct Mover {
    route: Arc<Route>,
    fault: watch::Receiver<Option<MessageFault>>,
    held: watch::Sender<usize>,
    injected: Arc<Mutex<BTreeSet<String>>>,
    /// Poison that is not yet confirmed.
    poison: Vec<(String, Vec<u8>)>,
    random: StdRng,
}

impl Mover {
    /// Moves messages for ever, on a new connection whenever one ends.
    async fn run(&mut self) {
        loop {
            if let Err(error) = self.session().await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    queue = self.route.queue,
                    "waiting for the broker"
                );
            }
            // What was held is delivered again.
            self.held.send_replace(self.poison.len());
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn session(&mut self) -> anyhow::Result<()> {
        let Route { amqp_url, queue, .. } = self.route.as_ref();
        let mut publisher = ConfirmChannel::open(Arc::new(connect(amqp_url, PURPOSE).await?)).await?;
        let mut receiver = ReceiverConnection::any_queue(amqp_url, PURPOSE, queue, BATCH).await?;
        let mut held: Vec<(Instant, RawMessage)> = Vec::new();
        let mut redirected = Instant::now();
        loop {
            // The service restores its bindings every few seconds.
            if redirected.elapsed() > REDIRECT_INTERVAL {
                self.route.redirect_again().await?;
                redirected = Instant::now();
            }
            while let Ok(arrived) = timeout(TICK, receiver.receive()).await {
                held.extend(arrived?.into_iter().map(|message| (Instant::now(), message)));
                self.held.send_replace(held.len() + self.poison.len());
                if held.len() >= WINDOW {
                    break;
                }
            }
            let due = self.due(&mut held);
            self.add_poison(&due);
            self.forward(&mut publisher, &due).await?;
            receiver.ack_through(&due).await?;
            self.held.send_replace(held.len());
        }
    }

    /// The messages that have been held for long enough, in the order in which they go out.
    fn due(&mut self, held: &mut Vec<(Instant, RawMessage)>) -> Vec<RawMessage> {
        let oldest = held.first().map(|(since, _)| since.elapsed()).unwrap_or_default();
        let fault = *self.fault.borrow();
        let count = match fault {
            Some(MessageFault::Delayed) => held.iter().filter(|(since, _)| since.elapsed() >= DELAY).count(),
            Some(MessageFault::Shuffled) if held.len() < WINDOW && oldest < WINDOW_TIME => 0,
            Some(MessageFault::Shuffled) => held.len().min(WINDOW),
            _ => held.len(),
        };
        let mut due: Vec<_> = held.drain(..count).map(|(_, message)| message).collect();
        if fault == Some(MessageFault::Shuffled) {
            due.shuffle(&mut self.random);
        }
        due
    }

    /// Publishes the messages and the poison to the service, and waits for their confirms.
    async fn forward(&mut self, publisher: &mut ConfirmChannel, due: &[RawMessage]) -> anyhow::Result<()> {
        if due.is_empty() && self.poison.is_empty() {
            return Ok(());
        }
        let service = self.route.service.as_str();
        let (exchange, key) = (own_exchange(service), events_queue(service));
        let message = |id: String, body| OutgoingMessage {
            id,
            exchange: &exchange,
            routing_key: &key,
            content_type: contracts::envelope::CONTENT_TYPE,
            body,
        };
        let events = due.iter().map(|event| message(event.id().unwrap_or_default(), event.body()));
        let poison = self.poison.iter().map(|(id, body)| message(id.clone(), body));
        let messages: Vec<OutgoingMessage<'_>> = events.chain(poison).collect();
        let times = if *self.fault.borrow() == Some(MessageFault::Doubled) { 2 } else { 1 };
        for _ in 0..times {
            let confirmed = publisher.publish_confirmed(&messages).await;
            anyhow::ensure!(
                messages.iter().all(|message| confirmed.contains(&message.id)),
                BrokerError::Unavailable("the broker did not confirm".to_owned())
            );
        }
        self.poison.clear();
        Ok(())
    }

    /// Adds poison to some of the messages, and notes its ids.
    fn add_poison(&mut self, due: &[RawMessage]) {
        let fault = *self.fault.borrow();
        for event in due {
            let body = match fault {
                Some(MessageFault::Poisoned) => b"\xff no event".to_vec(),
                Some(MessageFault::WrongVersion) => in_a_wrong_version(event.body()),
                _ => continue,
            };
            if self.random.random_range(0..100) < POISON_PERCENT {
                let id = uuid::Builder::from_random_bytes(self.random.random()).into_uuid().to_string();
                self.injected.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
                self.poison.push((id, body));
            }
        }
    }
}

/// The event as a later build would publish it.
fn in_a_wrong_version(body: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(body).replacen(".v1\"", ".v99\"", 1).into_bytes()
}
