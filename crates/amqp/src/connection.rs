//! Connections to RabbitMQ. The client library's own recovery stays off: [`supervise`](crate::supervise) makes new ones.

use std::time::Duration;

use lapin::{
    Channel, Connection, ConnectionProperties, Queue, options::QueueDeclareOptions, types::FieldTable,
    uri::AMQPUri,
};
use tokio::time::timeout;

use crate::error::BrokerError;

const HEARTBEAT_SECONDS: u16 = 10;
/// The broker's own limit. It sends the headers of a message in one frame of any size, and a larger frame than ours ends
/// the connection: with this limit no message that was published over AMQP does. lapin reserves 64 frames for each
/// connection, 8 MiB of memory, which is used as far as messages come.
const FRAME_MAX_BYTES: u32 = 128 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the broker may take for what comes before the work on a connection: channels, declarations, consumers. A queue
/// without a leader, or a node in a minority, may answer heartbeats and not these.
const SETUP_LIMIT: Duration = Duration::from_secs(20);

/// Opens a connection that the broker lists under `name`.
/// [`BrokerError::Unavailable`] when the broker does not answer within 10 s.
pub async fn connect(amqp_url: &str, name: &str) -> Result<Connection, BrokerError> {
    connect_to(parse(amqp_url)?, name).await
}

pub(crate) async fn connect_to(uri: AMQPUri, name: &str) -> Result<Connection, BrokerError> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    match timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(BrokerError::Unavailable(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

/// The outcome of a set-up, or [`BrokerError::Unavailable`] when the broker does not answer in time.
pub(crate) async fn within_setup_limit<T>(
    setup: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(SETUP_LIMIT, setup).await.unwrap_or_else(|_| {
        Err(BrokerError::Unavailable(format!("no answer within {} s", SETUP_LIMIT.as_secs())))
    })
}

pub(crate) async fn close(connection: &Connection) -> Result<(), BrokerError> {
    Ok(connection.close(200, "done".into()).await?)
}

/// The queue as it is now; an error when it does not exist. Needs no permission.
pub(crate) async fn look_at(channel: &Channel, queue: &str) -> Result<Queue, BrokerError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?)
}

pub fn vhost(amqp_url: &str) -> Result<String, BrokerError> {
    Ok(parse(amqp_url)?.vhost)
}

pub(crate) fn parse(amqp_url: &str) -> Result<AMQPUri, BrokerError> {
    // The parser's own error may repeat a part of the URL; the password must not reach a log.
    let mut uri: AMQPUri = amqp_url.parse().map_err(|_| {
        let example = "amqp://order:order@localhost:5672/shop";
        BrokerError::InvalidUrl(format!("the AMQP URL is not valid: use one such as {example}"))
    })?;
    uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
    uri.query.frame_max = Some(FRAME_MAX_BYTES);
    Ok(uri)
}
