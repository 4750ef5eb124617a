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

use futures::{StreamExt, future::join_all};
use lapin::{
    Channel, Confirmation, Connection, Event, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use runtime::health::{Health, HealthItem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::message::OutgoingMessage;
use crate::supervise::{Session, supervise};

/// The publishing connection of a process.
#[derive(Debug, Clone)]
pub struct Publisher {
    broker: Broker,
    health: Health,
    live: watch::Sender<Option<Arc<Connection>>>,
}

impl Publisher {
    pub fn new(broker: &Broker, health: &Health) -> Self {
        Self { broker: broker.clone(), health: health.clone(), live: watch::Sender::new(None) }
    }

    /// Keeps the connection open until the shutdown. Fails when the broker refuses the user or the vhost at first.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BrokerError> {
        supervise(&self.health.item("publishing"), &shutdown, &self).await
    }

    /// A channel in confirm mode. Waits for the connection.
    pub async fn channel(&self) -> Result<ConfirmChannel, BrokerError> {
        ConfirmChannel::open(self.connection().await?).await
    }

    /// The same for events: fails until every subscriber would get them.
    pub async fn events_channel(&self) -> Result<ConfirmChannel, BrokerError> {
        let connection = self.connection().await?;
        self.broker.ensure_topology(&connection).await?;
        ConfirmChannel::open(connection).await
    }

    /// Checks again that every subscriber gets what is published.
    pub async fn ensure_topology(&self) -> Result<(), BrokerError> {
        self.broker.ensure_topology(self.connection().await?.as_ref()).await
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
                // The connection stays open: the relay may still publish what it has read.
                () = shutdown.cancelled() => return Ok(()),
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    item.down(format!("blocked by the broker: {reason}"));
                }
                Some(Event::ConnectionUnblocked) => item.up(),
                Some(Event::Error(error)) => break error.into(),
                Some(_) => {}
                None => break BrokerError::Unavailable("the connection ended".to_owned()),
            }
        };
        self.live.send_replace(None);
        Err(broken)
    }
}

/// A channel on which the broker confirms every message.
#[derive(Debug)]
pub struct ConfirmChannel {
    channel: Channel,
    _connection: Arc<Connection>,
}

#[derive(Debug)]
pub struct PendingConfirms<'a> {
    messages: &'a [OutgoingMessage<'a>],
    confirms: Vec<PublisherConfirm>,
}

impl ConfirmChannel {
    /// Opens a channel on a connection, which stays open for as long.
    pub async fn open(connection: Arc<Connection>) -> Result<Self, BrokerError> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, _connection: connection })
    }

    /// Publishes the messages in their order, without waiting for the confirms in between.
    pub async fn publish<'a>(&self, messages: &'a [OutgoingMessage<'a>]) -> PendingConfirms<'a> {
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let published = self
                .channel
                .basic_publish(
                    message.exchange.into(),
                    message.routing_key.into(),
                    options,
                    message.body,
                    message.properties(),
                )
                .await;
            match published {
                Ok(confirm) => confirms.push(confirm),
                // The channel is closed: those that follow are not confirmed.
                Err(_) => break,
            }
        }
        PendingConfirms { messages, confirms }
    }

    /// Publishes one message, and waits for its confirm.
    /// [`BrokerError::Unavailable`] when it was not confirmed: the broker may have it, or not.
    pub async fn publish_one(&self, message: OutgoingMessage<'_>) -> Result<(), BrokerError> {
        let confirmed = self.publish(std::slice::from_ref(&message)).await.confirmed().await;
        if confirmed.contains(&message.id) {
            return Ok(());
        }
        Err(BrokerError::Unavailable(format!("it did not confirm a message to {}", message.routing_key)))
    }

    /// Closes the channel. An error makes no difference: every message is confirmed, or is not.
    pub async fn close(self) {
        let _ = self.channel.close(200, "done".into()).await;
    }
}

impl PendingConfirms<'_> {
    /// Waits for all confirms, and gives the ids of the confirmed messages. One that is missing was refused or
    /// returned, or its fate is unknown: publish it again.
    pub async fn confirmed(self) -> HashSet<String> {
        let (mut acked, mut returned) = (HashSet::new(), HashSet::new());
        for (message, confirmation) in self.messages.iter().zip(join_all(self.confirms).await) {
            let Ok(confirmation) = confirmation else { continue };
            if confirmation.is_ack() {
                acked.insert(message.id.clone());
            }
            // The broker acks a message that it returned, and the client attaches the return to whichever confirm comes
            // next.
            if let Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) = confirmation
                && let Some(id) = message.delivery.properties.message_id()
            {
                returned.insert(id.to_string());
            }
        }
        for id in &returned {
            tracing::warn!(message_id = id, "a message was returned: no queue is bound for its routing key");
            acked.remove(id);
        }
        acked
    }
}
