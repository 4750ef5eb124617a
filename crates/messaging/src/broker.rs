//! Connections to RabbitMQ: made, watched and made again. The client library's own recovery stays off.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use contracts::{EventType, ServiceName};
use lapin::{
    Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    types::FieldTable,
    uri::AMQPUri,
};
use runtime::health::HealthItem;
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::bindings::Bindings;
use crate::config::BrokerConfig;
use crate::failure::with_sources;
use crate::topology::{EVENT_STREAM, EVENTS_EXCHANGE, Topology};

const HEARTBEAT_SECONDS: u16 = 10;
/// Larger bodies travel in several frames. lapin keeps room for 64 frames in each connection, which is 8 MiB of memory
/// with the broker's own limit of 128 KiB.
const FRAME_MAX_BYTES: u32 = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the queues may take to come up after the broker.
const QUEUES_UP_LIMIT: Duration = Duration::from_secs(30);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// How long a session may go on after the shutdown. A broker that hangs answers nothing, not even a close.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// What goes wrong with the broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It does not answer, or the connection ended. Time may help.
    #[error("the broker is away: {0}")]
    Away(String),
    /// It does not know the user, the password or the vhost, or refuses a right.
    #[error(
        "the broker refused: {0}; check the user, password and vhost of its URL (a service's AMQP_URL), and that the broker loaded its definitions"
    )]
    Refused(String),
    /// It has an exchange or a queue of that name with other arguments.
    #[error(
        "the broker holds something else: {0}; delete it there once it is empty, and run `sagactl topology apply`"
    )]
    Mismatch(String),
    /// Something that should be there is not.
    #[error("missing on the broker: {0}; run `sagactl topology apply`")]
    Missing(String),
}

impl BrokerError {
    /// Sorts an error of the client library by what can be done about it.
    fn sort(error: &lapin::Error) -> Self {
        let text = with_sources(error);
        let ErrorKind::ProtocolError(protocol) = error.kind() else {
            return Self::Away(text);
        };
        let reply = protocol.get_message().to_string();
        match protocol.kind() {
            // The same code tells of an unknown delivery tag, and of a delivery that was held for too long.
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if reply.contains("inequivalent") => {
                Self::Mismatch(reply)
            }
            // It is there, and comes up a moment after the broker itself.
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if reply.contains("down or inaccessible") => {
                Self::Away(text)
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing(reply),
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Self::Refused(reply),
            _ => Self::Away(text),
        }
    }

    /// Whether only a person can help. Before its first success a service stops on such an error; later the
    /// broker may be about to come up, and the service waits.
    fn is_fatal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Mismatch(_))
    }
}

impl From<lapin::Error> for BrokerError {
    fn from(error: lapin::Error) -> Self {
        Self::sort(&error)
    }
}

/// The broker as one service sees it.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    uri: AMQPUri,
    config: BrokerConfig,
    service: ServiceName,
    subscriptions: &'static [EventType],
    own: Topology,
    bindings: Bindings,
}

impl Broker {
    /// The broker of the configuration. Connects to nothing yet.
    ///
    /// # Errors
    /// When `AMQP_URL` is no AMQP URL, or `RABBITMQ_MANAGEMENT_URL` no URL.
    pub fn new(
        config: &BrokerConfig,
        service: ServiceName,
        subscriptions: &'static [EventType],
    ) -> anyhow::Result<Self> {
        let own = if subscriptions.is_empty() {
            Topology::default()
        } else {
            Topology::of_service(service, subscriptions, &config.retry_delays)
        };
        let uri = parse_uri(config.amqp_url.expose_secret())?;
        let bindings = Bindings::new(config, &uri.vhost)?;
        Ok(Self(Arc::new(Inner { uri, config: config.clone(), service, subscriptions, own, bindings })))
    }

    pub(crate) fn config(&self) -> &BrokerConfig {
        &self.0.config
    }

    pub(crate) fn service(&self) -> ServiceName {
        self.0.service
    }

    pub(crate) fn subscriptions(&self) -> &'static [EventType] {
        self.0.subscriptions
    }

    pub(crate) fn own(&self) -> &Topology {
        &self.0.own
    }

    pub(crate) fn bindings(&self) -> &Bindings {
        &self.0.bindings
    }

    /// A new connection, named after the service and its purpose.
    pub(crate) async fn connect(&self, purpose: &str) -> Result<Connection, BrokerError> {
        let name = format!("{} {purpose}", self.service());
        connect(self.0.uri.clone(), &name).await
    }

    /// Makes sure that the log is there, up and bound, and so all other queues: what is routed before that misses
    /// them, and is confirmed.
    pub(crate) async fn ensure_stream_bound(&self, connection: &Connection) -> Result<(), BrokerError> {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(EVENT_STREAM.into(), options, FieldTable::default()).await?;
        channel.close(200, "done".into()).await?;
        match self.bindings().missing(&Topology::event_stream()).await {
            Ok(missing) if missing.is_empty() => Ok(()),
            Ok(missing) => Err(BrokerError::Missing(missing.join(", "))),
            Err(error) => Err(BrokerError::Away(format!("its management API does not answer: {error}"))),
        }
    }

    /// Declares this service's own part of the topology; the exchange of all events must be there already.
    pub(crate) async fn declare_own(&self, channel: &Channel) -> Result<(), BrokerError> {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(EVENTS_EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default())
            .await?;
        self.own().declare(channel).await
    }
}

/// Declares a topology over a connection of its own: `sagactl topology apply`. Waits up to 30 s for queues that
/// come up with a broker that was just started.
///
/// # Errors
/// [`BrokerError`], or a URL that is none.
pub async fn apply_topology(amqp_url: &str, topology: &Topology) -> anyhow::Result<()> {
    let connection = connect(parse_uri(amqp_url)?, "topology").await?;
    let deadline = Instant::now() + QUEUES_UP_LIMIT;
    while let Err(error) = declare_once(&connection, topology).await {
        if !matches!(error, BrokerError::Away(_)) || Instant::now() > deadline {
            return Err(error.into());
        }
        tokio::time::sleep(BACKOFF_BASE).await;
    }
    connection.close(200, "done".into()).await.map_err(BrokerError::from)?;
    Ok(())
}

/// On a channel of its own, because an error closes it.
async fn declare_once(connection: &Connection, topology: &Topology) -> Result<(), BrokerError> {
    let channel = connection.create_channel().await?;
    topology.declare(&channel).await?;
    // A channel that is still closing when its connection is closed makes that fail.
    channel.close(200, "done".into()).await?;
    Ok(())
}

pub fn parse_uri(url: &str) -> anyhow::Result<AMQPUri> {
    let parsed: Result<AMQPUri, String> = url.parse();
    let mut uri = parsed
        .map_err(anyhow::Error::msg)
        .context("the AMQP URL is none: give one such as amqp://order:order@localhost:5672/shop")?;
    uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
    uri.query.frame_max = Some(FRAME_MAX_BYTES);
    Ok(uri)
}

pub async fn connect(uri: AMQPUri, name: &str) -> Result<Connection, BrokerError> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    match timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(BrokerError::Away(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

/// Ends some time after the shutdown.
async fn overdue(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}

/// Work that lives as long as one connection.
pub(crate) trait Session: Sync {
    /// Connects and works until the connection breaks, or the shutdown. Says [`HealthItem::up`] once it works.
    fn session(
        &self,
        item: &HealthItem,
        shutdown: &CancellationToken,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send;
}

/// Runs sessions on the broker, one after the other, until the shutdown: each ends with the error that broke it,
/// and the next begins after a backoff with full jitter.
///
/// # Errors
/// What no time will heal, when no session has worked yet.
pub(crate) async fn supervise(
    item: &HealthItem,
    shutdown: &CancellationToken,
    work: &impl Session,
) -> anyhow::Result<()> {
    let mut attempt = 0;
    let mut worked = false;
    while !shutdown.is_cancelled() {
        let ended = tokio::select! {
            ended = work.session(item, shutdown) => ended,
            () = overdue(shutdown) => return Ok(()),
        };
        let Err(error) = ended else {
            continue;
        };
        if item.is_up() {
            worked = true;
            attempt = 0;
        }
        if error.is_fatal() && !worked {
            return Err(error.into());
        }
        item.down(error.to_string());
        let wait = runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP);
        attempt = attempt.saturating_add(1);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    Ok(())
}
