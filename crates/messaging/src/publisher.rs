//! The connection that a service publishes on: one, apart from the one it consumes on, since a broker that blocks
//! publishers stops everything on their connection, acknowledgements included.
//!
//! A broker that was just started takes connections before its streams are up. Until then it leaves the log out
//! where it routes, and confirms all the same (measured on 3.10). So it does with a queue that is not bound yet. The
//! log is bound after all others: once it answers and is bound, events are published.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures::{StreamExt, future::join_all};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::FieldTable,
};
use runtime::health::{Health, HealthItem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError, Session, supervise};
use crate::failpoint::{self, Failpoint};

/// A message to publish. It is persistent, `mandatory`, and known by its id.
#[derive(Debug)]
pub struct Message<'a> {
    pub id: String,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub content_type: &'a str,
    pub headers: FieldTable,
    pub body: &'a [u8],
}

/// The publishing connection, shared by the relay and by the consumer's failure branch.
#[derive(Clone)]
pub struct Publisher {
    broker: Broker,
    health: Health,
    live: watch::Sender<Option<Arc<Connection>>>,
}

impl Publisher {
    /// A publisher that connects once it [`run`](Self::run)s.
    #[must_use]
    pub fn new(broker: &Broker, health: &Health) -> Self {
        Self { broker: broker.clone(), health: health.clone(), live: watch::Sender::new(None) }
    }

    /// Keeps the connection up until the shutdown.
    ///
    /// # Errors
    /// When the broker refuses the user or the vhost at the first try.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let item = self.health.item("publishing");
        supervise(&item, &shutdown, &self).await
    }

    /// A channel in confirm mode, as soon as there is a connection.
    pub async fn channel(&self) -> Result<Channel, BrokerError> {
        let connection = self.connection().await?;
        confirming(&connection).await
    }

    /// The same for events, when whoever hears them would get them.
    pub async fn events_channel(&self) -> Result<Channel, BrokerError> {
        let connection = self.connection().await?;
        self.broker.ensure_stream_bound(&connection).await?;
        confirming(&connection).await
    }

    async fn connection(&self) -> Result<Arc<Connection>, BrokerError> {
        let mut live = self.live.subscribe();
        let connection = live.wait_for(Option::is_some).await.ok().and_then(|connection| connection.clone());
        connection.ok_or_else(|| BrokerError::Away("the publisher ended".to_owned()))
    }
}

impl Session for Publisher {
    async fn session(&self, item: &HealthItem, shutdown: &CancellationToken) -> Result<(), BrokerError> {
        let connection = Arc::new(self.broker.connect("publisher").await?);
        let mut events = pin!(connection.events_listener());
        // What happened before somebody listened was told to nobody.
        if !connection.status().connected() {
            return Err(BrokerError::Away("the connection ended at once".to_owned()));
        }
        self.live.send_replace(Some(connection.clone()));
        item.up();
        let broken = loop {
            let event = tokio::select! {
                event = events.next() => event,
                // The connection stays: what is in hand may still be published.
                () = shutdown.cancelled() => return Ok(()),
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    item.down(format!("blocked by the broker: {reason}"));
                }
                Some(Event::ConnectionUnblocked) => item.up(),
                Some(Event::Error(error)) => break error.into(),
                Some(_) => {}
                None => break BrokerError::Away("the connection ended".to_owned()),
            }
        };
        self.live.send_replace(None);
        Err(broken)
    }
}

async fn confirming(connection: &Connection) -> Result<Channel, BrokerError> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Publishes the messages in their order, all confirms outstanding at once, and gives back the ids of those that
/// the broker took. One that is missing was refused or returned, or nothing is known of it: publish it again.
pub async fn publish_all(channel: &Channel, messages: &[Message<'_>]) -> HashSet<String> {
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = channel
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
            Err(_) => break,
        }
    }
    failpoint::hit(Failpoint::AfterPublish);
    let (mut acked, mut returned) = (HashSet::new(), HashSet::new());
    for (message, confirmation) in messages.iter().zip(join_all(confirms).await) {
        let Ok(confirmation) = confirmation else { continue };
        if confirmation.is_ack() {
            acked.insert(message.id.clone());
        }
        // The broker acks what it returned, and the client hands the return to whichever confirm comes next.
        if let Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message)) = confirmation
            && let Some(id) = message.delivery.properties.message_id()
        {
            returned.insert(id.to_string());
        }
    }
    for id in &returned {
        tracing::warn!(message_id = id, "returned: no queue is bound for it; it stays in the outbox");
        acked.remove(id);
    }
    acked
}

impl Message<'_> {
    fn properties(&self) -> BasicProperties {
        const PERSISTENT: u8 = 2;
        BasicProperties::default()
            .with_message_id(self.id.as_str().into())
            .with_content_type(self.content_type.into())
            .with_delivery_mode(PERSISTENT)
            .with_headers(self.headers.clone())
    }
}
