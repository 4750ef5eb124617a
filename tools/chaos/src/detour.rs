//! A detour for the events of one service, for chaos runs: they come late, twice, out of order or in bad company.
//!
//! While it is taken, the service's queue is bound to a queue of the detour's instead of to the events, and what
//! arrives there is handed on to the service's own exchange. Nothing is lost on the way: a message is acknowledged
//! once the broker has confirmed the one that replaces it. So it may come twice, as any message may.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use system::Service;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use amqp::connection::connect;
use amqp::topology::{EVENTS_EXCHANGE, events_queue, own_exchange};
use amqp::{BrokerError, ConfirmChannel, Headers, OutgoingMessage};

const PURPOSE: &str = "detour";
const AGAIN: Duration = Duration::from_millis(100);
/// Between two looks at what is held.
const TICK: Duration = Duration::from_millis(20);
/// How many messages are shuffled with each other, if so many come in time.
const WINDOW: usize = 50;
const WINDOW_TIME: Duration = Duration::from_millis(200);
/// How late a delayed message is, if the detour is taken for so long.
const DELAY: Duration = Duration::from_secs(60);
/// Of a hundred messages so many have bad company.
const BAD_OF_A_HUNDRED: u32 = 1;
const PREFETCH: u16 = 1_000;

/// What happens to the messages on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// Each comes twice.
    Doubled,
    /// Every 50 come in another order.
    Shuffled,
    /// Each comes 60 s late, or when the detour ends.
    Delayed,
    /// To one of a hundred comes another that is no event.
    Poisoned,
    /// To one of a hundred comes a copy in a version that nobody knows.
    WrongVersion,
}

/// The detour of one service; gone when it is dropped.
#[derive(Debug)]
pub struct Detour {
    route: Arc<Route>,
    mischief: watch::Sender<Option<Mischief>>,
    held: watch::Receiver<usize>,
    planted: Arc<Mutex<BTreeSet<String>>>,
    _mover: JoinSet<()>,
}

#[derive(Debug)]
struct Route {
    amqp_url: String,
    service: Service,
    queue: String,
}

impl Detour {
    /// Opens a detour that is not taken yet, over a user who may do anything; `seed` is where its choices come from.
    ///
    /// # Errors
    /// [`BrokerError`], or a URL that is none.
    pub async fn open(amqp_url: &str, service: Service, seed: u64) -> anyhow::Result<Self> {
        let queue = format!("{service}.detour");
        let route = Arc::new(Route { amqp_url: amqp_url.to_owned(), service, queue });
        route.declare().await?;
        let (mischief, held) = (watch::Sender::new(None), watch::Sender::new(0));
        let mut mover = Mover {
            route: route.clone(),
            mischief: mischief.subscribe(),
            held: held.clone(),
            planted: Arc::default(),
            company: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        };
        let planted = mover.planted.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { mover.run().await });
        Ok(Self { route, mischief, held: held.subscribe(), planted, _mover: task })
    }

    /// Leads the service's events over the detour. Waits until the broker is there.
    pub async fn take(&self, mischief: Mischief) {
        self.mischief.send_replace(Some(mischief));
        while self.route.redirect(true).await.is_err() {
            sleep(AGAIN).await;
        }
    }

    /// Leads them straight again; what is on the detour goes on at once. Waits until the broker is there.
    pub async fn leave(&self) {
        while self.route.redirect(false).await.is_err() {
            sleep(AGAIN).await;
        }
        self.mischief.send_replace(None);
    }

    /// Whether nothing is on the detour.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn is_empty(&self) -> anyhow::Result<bool> {
        let waiting =
            amqp::inspect::waiting(&self.route.amqp_url, std::slice::from_ref(&self.route.queue)).await?;
        Ok(waiting.values().all(|count| *count == 0) && self.held() == 0)
    }

    /// How many messages it holds in hand.
    #[must_use]
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }

    /// The ids of the messages that were added and are to end among the dead letters.
    #[must_use]
    pub fn planted(&self) -> BTreeSet<String> {
        self.planted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Route {
    async fn connect(&self) -> anyhow::Result<Connection> {
        Ok(connect(&self.amqp_url, PURPOSE).await?)
    }

    /// The queue outlives the broker's death, as those of the services do.
    async fn declare(&self) -> anyhow::Result<()> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.queue.as_str().into(), durable, arguments).await?;
        Ok(connection.close(200, "done".into()).await?)
    }

    /// Binds one of the two queues, and then unbinds the other: meanwhile a message may come on both ways.
    async fn redirect(&self, over: bool) -> anyhow::Result<()> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let straight = events_queue(self.service.as_str());
        let (to, from) = if over { (&self.queue, &straight) } else { (&straight, &self.queue) };
        for event in self.service.subscriptions() {
            let (exchange, key) = (EVENTS_EXCHANGE.into(), event.name().into());
            let options = QueueBindOptions::default();
            channel.queue_bind(to.as_str().into(), exchange, key, options, FieldTable::default()).await?;
        }
        for event in self.service.subscriptions() {
            let (exchange, key) = (EVENTS_EXCHANGE.into(), event.name().into());
            channel.queue_unbind(from.as_str().into(), exchange, key, FieldTable::default()).await?;
        }
        Ok(connection.close(200, "done".into()).await?)
    }
}

struct Mover {
    route: Arc<Route>,
    mischief: watch::Receiver<Option<Mischief>>,
    held: watch::Sender<usize>,
    planted: Arc<Mutex<BTreeSet<String>>>,
    /// Bad company that is to be sent, until it is confirmed.
    company: Vec<(String, Vec<u8>)>,
    random: StdRng,
}

impl Mover {
    /// Moves messages for ever, over one connection after the other.
    async fn run(&mut self) {
        loop {
            if let Err(error) = self.session().await {
                tracing::debug!(error = format!("{error:#}"), queue = self.route.queue, "the detour waits");
            }
            // What was held comes again.
            self.held.send_replace(self.company.len());
            sleep(AGAIN).await;
        }
    }

    async fn session(&mut self) -> anyhow::Result<()> {
        let connection = Arc::new(self.route.connect().await?);
        let publisher = ConfirmChannel::open(connection.clone()).await?;
        let channel = connection.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let (queue, tag) = (self.route.queue.as_str().into(), PURPOSE.into());
        let mut consumer: Consumer =
            channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default()).await?;
        let mut held: Vec<(Instant, Delivery)> = Vec::new();
        loop {
            while let Ok(arrived) = timeout(TICK, consumer.next()).await {
                let Some(arrived) = arrived else { anyhow::bail!("the consumer was ended") };
                held.push((Instant::now(), arrived?));
                self.held.send_replace(held.len() + self.company.len());
                if held.len() >= WINDOW {
                    break;
                }
            }
            let due = self.due(&mut held);
            self.find_company(&due);
            self.hand_on(&channel, &publisher, due).await?;
            self.held.send_replace(held.len());
        }
    }

    /// What has been held for long enough, in the order in which it is to go.
    fn due(&mut self, held: &mut Vec<(Instant, Delivery)>) -> Vec<Delivery> {
        let oldest = held.first().map(|(since, _)| since.elapsed()).unwrap_or_default();
        let mischief = *self.mischief.borrow();
        let count = match mischief {
            Some(Mischief::Delayed) => held.iter().filter(|(since, _)| since.elapsed() >= DELAY).count(),
            Some(Mischief::Shuffled) if held.len() < WINDOW && oldest < WINDOW_TIME => 0,
            _ => held.len(),
        };
        let mut due: Vec<_> = held.drain(..count).map(|(_, delivery)| delivery).collect();
        if mischief == Some(Mischief::Shuffled) {
            due.shuffle(&mut self.random);
        }
        due
    }

    /// Publishes the messages to their service, with what the mischief adds, and acknowledges them.
    async fn hand_on(
        &mut self,
        channel: &Channel,
        publisher: &ConfirmChannel,
        due: Vec<Delivery>,
    ) -> anyhow::Result<()> {
        if due.is_empty() && self.company.is_empty() {
            return Ok(());
        }
        let (exchange, key) =
            (own_exchange(self.route.service.as_str()), events_queue(self.route.service.as_str()));
        let message = |id: String, body, headers| OutgoingMessage {
            id,
            exchange: &exchange,
            routing_key: &key,
            content_type: contracts::envelope::CONTENT_TYPE,
            headers,
            body,
        };
        let mut messages: Vec<OutgoingMessage<'_>> = Vec::with_capacity(due.len() + self.company.len());
        for delivery in &due {
            messages.push(message(id_of(delivery), &delivery.data, Headers::default()));
        }
        let company = self.company.iter();
        messages.extend(company.map(|(id, body)| message(id.clone(), body, Headers::default())));
        let times = if *self.mischief.borrow() == Some(Mischief::Doubled) { 2 } else { 1 };
        for _ in 0..times {
            let confirmed = publisher.publish(&messages).await.confirmed().await;
            anyhow::ensure!(
                messages.iter().all(|message| confirmed.contains(&message.id)),
                BrokerError::Unavailable("the broker did not confirm".to_owned())
            );
        }
        self.company.clear();
        for delivery in &due {
            channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
        }
        Ok(())
    }

    /// Finds bad company for some of the messages, and notes its ids.
    fn find_company(&mut self, due: &[Delivery]) {
        let mischief = *self.mischief.borrow();
        for delivery in due {
            let body = match mischief {
                Some(Mischief::Poisoned) => b"\xff no event".to_vec(),
                Some(Mischief::WrongVersion) => in_a_wrong_version(&delivery.data),
                _ => continue,
            };
            if self.random.random_range(0..100) < BAD_OF_A_HUNDRED {
                let id = uuid::Builder::from_random_bytes(self.random.random()).into_uuid().to_string();
                self.planted.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
                self.company.push((id, body));
            }
        }
    }
}

fn id_of(delivery: &Delivery) -> String {
    delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The event as a later build would say it.
fn in_a_wrong_version(body: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(body).replacen(".v1\"", ".v99\"", 1).into_bytes()
}
