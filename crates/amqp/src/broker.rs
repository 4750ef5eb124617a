//! The broker as one service uses it.

use std::sync::Arc;

use lapin::{
    Channel, Connection, ExchangeKind, options::ExchangeDeclareOptions, types::FieldTable, uri::AMQPUri,
};
use secrecy::ExposeSecret;

use crate::bindings::BindingsClient;
use crate::config::BrokerConfig;
use crate::connection::{connect_to, look_at, parse};
use crate::error::BrokerError;
use crate::topology::{EVENT_STREAM, EVENTS_EXCHANGE, Topology};

/// The broker as one service uses it: where it is, and the service's own part of the topology. Clones share it.
#[derive(Debug, Clone)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    uri: AMQPUri,
    config: BrokerConfig,
    service: String,
    own: Option<Topology>,
    bindings: BindingsClient,
}

impl Broker {
    /// The broker of the configuration, for a service that subscribes to these routing keys; a service that has none
    /// reads the event stream. Does not connect yet.
    pub fn new(config: &BrokerConfig, service: &str, routing_keys: &[&str]) -> Result<Self, BrokerError> {
        let uri = parse(config.amqp_url.expose_secret())?;
        let bindings = BindingsClient::new(config, &uri.vhost)?;
        let own = (!routing_keys.is_empty()).then(|| Topology::of_service(service, routing_keys));
        Ok(Self(Arc::new(Inner { uri, config: config.clone(), service: service.to_owned(), own, bindings })))
    }

    pub fn config(&self) -> &BrokerConfig {
        &self.0.config
    }

    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// The topology without which the service misses events: its own, or that of the event stream.
    pub fn needed_topology(&self) -> Topology {
        self.0.own.clone().unwrap_or_else(Topology::event_stream)
    }

    pub fn bindings(&self) -> &BindingsClient {
        &self.0.bindings
    }

    pub(crate) async fn connect(&self, purpose: &str) -> Result<Connection, BrokerError> {
        connect_to(self.0.uri.clone(), &format!("{} {purpose}", self.0.service)).await
    }

    /// Checks that the event stream is available and bound. It is bound after all other queues, so these are bound,
    /// too: an event that is published before misses them, and is confirmed all the same.
    pub(crate) async fn ensure_stream_bound(&self, connection: &Connection) -> Result<(), BrokerError> {
        let channel = connection.create_channel().await?;
        look_at(&channel, EVENT_STREAM).await?;
        channel.close(200, "done".into()).await?;
        match self.0.bindings.missing(&Topology::event_stream()).await {
            Ok(missing) if missing.is_empty() => Ok(()),
            Ok(missing) => Err(BrokerError::Missing(missing.join(", "))),
            Err(error) => {
                Err(BrokerError::Unavailable(format!("its management API does not answer: {error}")))
            }
        }
    }

    /// Declares the service's own part of the topology; the exchange of all events must exist already.
    pub(crate) async fn declare_own(&self, channel: &Channel) -> Result<(), BrokerError> {
        let Some(own) = &self.0.own else { return Ok(()) };
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(EVENTS_EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default())
            .await?;
        own.declare(channel).await
    }
}
