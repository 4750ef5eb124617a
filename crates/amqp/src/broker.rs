//! The broker as one service uses it.

use std::sync::Arc;

use lapin::{
    Channel, Connection, ExchangeKind, options::ExchangeDeclareOptions, types::FieldTable, uri::AMQPUri,
};
use secrecy::ExposeSecret;

use crate::config::BrokerConfig;
use crate::connection::{connect_to, look_at, parse};
use crate::error::BrokerError;
use crate::topology::{EVENT_STREAM, EVENTS_EXCHANGE, Topology};

/// The broker as one service uses it: where it is, and what of the topology the service needs. Clones share it.
#[derive(Debug, Clone)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    uri: AMQPUri,
    config: BrokerConfig,
    service: String,
    /// The service's own part; that of the event stream, when it reads that.
    own: Topology,
    declares_own: bool,
    /// Of the whole topology.
    marker: Option<String>,
}

impl Broker {
    /// The broker of the configuration, for a service of the topology that subscribes to these routing keys; a service that
    /// has none reads the event stream. Does not connect yet.
    pub fn new(
        config: &BrokerConfig,
        service: &str,
        routing_keys: &[&str],
        whole: &Topology,
    ) -> Result<Self, BrokerError> {
        let declares_own = !routing_keys.is_empty();
        let own = match declares_own {
            true => Topology::of_service(service, routing_keys),
            false => Topology::event_stream(),
        };
        Ok(Self(Arc::new(Inner {
            uri: parse(config.amqp_url.expose_secret())?,
            config: config.clone(),
            service: service.to_owned(),
            own,
            declares_own,
            marker: whole.marker.clone(),
        })))
    }

    pub fn config(&self) -> &BrokerConfig {
        &self.0.config
    }

    pub fn service(&self) -> &str {
        &self.0.service
    }

    pub(crate) async fn connect(&self, purpose: &str) -> Result<Connection, BrokerError> {
        connect_to(self.0.uri.clone(), &format!("{} {purpose}", self.0.service)).await
    }

    /// Checks that the whole topology was applied, and that the event stream is available: an event that is published
    /// before misses a queue, and is confirmed all the same. It needs no permission.
    pub(crate) async fn ensure_topology(&self, connection: &Connection) -> Result<(), BrokerError> {
        let channel = connection.create_channel().await?;
        look_at(&channel, EVENT_STREAM).await?;
        if let Some(marker) = &self.0.marker {
            look_at_exchange(&channel, marker, ExchangeKind::Direct).await?;
        }
        Ok(channel.close(200, "done".into()).await?)
    }

    /// Declares the service's own part of the topology; the exchange of all events must exist already.
    pub(crate) async fn declare_own(&self, channel: &Channel) -> Result<(), BrokerError> {
        if !self.0.declares_own {
            return Ok(());
        }
        look_at_exchange(channel, EVENTS_EXCHANGE, ExchangeKind::Topic).await?;
        self.0.own.declare(channel).await
    }

    /// Declares the bindings of what the service consumes again: one that was removed comes back.
    pub(crate) async fn bind_own(&self, channel: &Channel) -> Result<(), BrokerError> {
        self.0.own.bind(channel).await
    }
}

async fn look_at_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    Ok(channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await?)
}
