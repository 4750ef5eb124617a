//! The connection that a service publishes on. It is not the one that it consumes on: a broker that blocks publishers
//! stops everything on their connection, acknowledgements included.
//!
//! A broker that has just started accepts connections before its streams are available. Until then it does not route to
//! the event stream, and confirms all the same (measured on 3.10). It does the same with a queue that is not bound yet.
//! The topology's marker is declared after all bindings: once it is there and the stream is available, events can be
//! published.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    Channel, Confirmation, Connection, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use runtime::health::{Health, HealthItem};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::connection::within_setup_limit;
use crate::error::BrokerError;
use crate::message::OutgoingMessage;
use crate::supervise::{Session, supervise};

/// A confirm that does not come within this time never will.
pub const CONFIRM_LIMIT: Duration = Duration::from_secs(15);
/// How long a connection may take to close on which the broker did not answer.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// The publishing connection of a process.
#[derive(Debug, Clone)]
pub struct Publisher {
    broker: Broker,
    health: Health,
    live: watch::Sender<Option<Arc<Connection>>>,
    given_up: Arc<Notify>,
    blocked: Arc<AtomicBool>,
}

impl Publisher {
    pub fn new(broker: &Broker, health: &Health) -> Self {
        Self {
            broker: broker.clone(),
            health: health.clone(),
            live: watch::Sender::new(None),
            given_up: Arc::default(),
            blocked: Arc::default(),
        }
    }

    /// Keeps the connection open until the shutdown. Fails when the broker refuses the user or the vhost at first.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        supervise(&self.health.item("publishing"), &shutdown, &self).await
    }

    /// A channel in confirm mode for events. Waits for the connection, and fails unless every subscriber would get them.
    pub async fn events_channel(&self) -> Result<ConfirmChannel, BrokerError> {
        let connection = self.connection().await?;
        within_setup_limit(async {
            self.broker.ensure_topology(&connection).await?;
            ConfirmChannel::open(connection.clone()).await
        })
        .await
    }

    /// Checks again that every subscriber gets what is published.
    pub async fn ensure_topology(&self) -> Result<(), BrokerError> {
        let connection = self.connection().await?;
        within_setup_limit(self.broker.ensure_topology(&connection)).await
    }

    /// Whether the broker takes nothing on the connection at present, for lack of memory or disk.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Gives up the connection, on which the broker does not answer. Another one is opened.
    pub fn give_up_connection(&self) {
        self.live.send_replace(None);
        self.given_up.notify_one();
    }

    async fn connection(&self) -> Result<Arc<Connection>, BrokerError> {
        let mut live = self.live.subscribe();
        let connection = live.wait_for(Option::is_some).await.ok().and_then(|connection| connection.clone());
        connection.ok_or_else(|| BrokerError::Unavailable("the publisher ended".to_owned()))
    }
}

impl Session for Publisher {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let connection = Arc::new(self.broker.connect("publisher").await?);
        let mut events = pin!(connection.events_listener());
        // An event that came before the listener is lost.
        if !connection.status().connected() {
            return Err(BrokerError::Unavailable("the connection ended at once".to_owned()));
        }
        self.live.send_replace(Some(connection.clone()));
        item.up();
        let broken = loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.given_up.notified() => {
                    let _ = timeout(CLOSE_LIMIT, connection.close(200, "no confirm came".into())).await;
                    break BrokerError::Unavailable("it did not confirm what was published".to_owned());
                }
                // The connection stays open: the relay may still publish what it has read.
                () = shutdown.cancelled() => return Ok(()),
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    self.blocked.store(true, Ordering::Relaxed);
                    item.down(format!("blocked by the broker: {reason}"));
                }
                Some(Event::ConnectionUnblocked) => {
                    self.blocked.store(false, Ordering::Relaxed);
                    item.up();
                }
                Some(Event::Error(error)) => break error.into(),
                Some(_) => {}
                None => break BrokerError::Unavailable("the connection ended".to_owned()),
            }
        };
        self.live.send_replace(None);
        self.blocked.store(false, Ordering::Relaxed);
        Err(broken)
    }
}

/// A channel on which the broker confirms every message.
pub struct ConfirmChannel {
    channel: Channel,
    _connection: Arc<Connection>,
    in_flight: FuturesUnordered<BoxFuture<'static, (String, lapin::Result<Confirmation>)>>,
    /// What was not even sent.
    unsent: Vec<(String, Fate)>,
    /// Messages that came back, and whose own confirm is still to come.
    returned: HashSet<String>,
}

/// What became of a published message.
#[derive(Debug, Clone)]
pub enum Fate {
    /// The broker has it.
    Confirmed,
    /// The broker did not take it, and why: no queue is bound for its routing key, or a queue has no room.
    Rejected(String),
    /// The channel was closed over this message, or over another one: the broker's words. Publish each alone, on a new
    /// channel, to know which one it was.
    ChannelClosed(String),
    /// Its confirm was lost with the connection: the broker may have it, or not.
    Unknown(String),
}

impl ConfirmChannel {
    /// Opens a channel on a connection, which stays open for as long.
    pub async fn open(connection: Arc<Connection>) -> Result<Self, BrokerError> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let (in_flight, unsent, returned) = (FuturesUnordered::new(), Vec::new(), HashSet::new());
        Ok(Self { channel, _connection: connection, in_flight, unsent, returned })
    }

    /// Publishes the messages in their order, without waiting for their confirms.
    pub async fn publish(&mut self, messages: &[OutgoingMessage<'_>]) {
        for (position, message) in messages.iter().enumerate() {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let published = self.channel.basic_publish(
                message.exchange.into(),
                message.routing_key.into(),
                options,
                message.body,
                message.properties(),
            );
            match published.await {
                Ok(confirm) => {
                    let id = message.id.clone();
                    self.in_flight.push(async { (id, confirm.await) }.boxed());
                }
                Err(error) => {
                    let fate = Fate::of(error);
                    self.unsent
                        .extend(messages[position..].iter().map(|unsent| (unsent.id.clone(), fate.clone())));
                    return;
                }
            }
        }
    }

    /// The id of a published message whose fate is known, and its fate; `None` when none is until the deadline.
    pub async fn next_fate(&mut self, deadline: Instant) -> Option<(String, Fate)> {
        if let Some(unsent) = self.unsent.pop() {
            return Some(unsent);
        }
        let (id, confirmation) = timeout_at(deadline, self.in_flight.next()).await.ok()??;
        // The broker acks a message that it returned, and the client attaches the return to whichever confirm comes next.
        if let Ok(Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))) = &confirmation
            && let Some(returned) = message.delivery.properties.message_id()
        {
            self.returned.insert(returned.to_string());
        }
        let fate = match confirmation {
            _ if self.returned.remove(&id) => {
                Fate::Rejected("no queue is bound for its routing key".to_owned())
            }
            Ok(confirmation) if confirmation.is_ack() => Fate::Confirmed,
            Ok(_) => Fate::Rejected("a queue did not take it".to_owned()),
            Err(error) => Fate::of(error),
        };
        Some((id, fate))
    }

    /// Publishes the messages, and gives the ids of those that the broker confirmed.
    pub async fn publish_confirmed(&mut self, messages: &[OutgoingMessage<'_>]) -> HashSet<String> {
        self.publish(messages).await;
        let (deadline, mut confirmed) = (Instant::now() + CONFIRM_LIMIT, HashSet::new());
        while let Some((id, fate)) = self.next_fate(deadline).await {
            if let Fate::Confirmed = fate {
                confirmed.insert(id);
            }
        }
        confirmed
    }
}

impl Fate {
    fn of(error: lapin::Error) -> Self {
        match error.into() {
            BrokerError::Refused(reason) | BrokerError::Missing(reason) | BrokerError::TooLarge(reason) => {
                Self::ChannelClosed(reason)
            }
            error => Self::Unknown(error.to_string()),
        }
    }
}
