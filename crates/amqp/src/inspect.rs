//! Queues seen from outside: how many messages are ready. All of them stay where they are.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::{close, connect, look_at};
use crate::error::BrokerError;
use crate::message::RawMessage;
use crate::receiver::ReceiverConnection;

/// How long an empty stream is waited for, and the last chunk of another one is read. It comes at once.
const CHUNK: Duration = Duration::from_secs(1);
/// The messages of a chunk arrive together: it is over when none comes for so long.
const CHUNK_OVER: Duration = Duration::from_millis(50);
/// How long all of it may take, up to the closed connection.
const END_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    pub messages: u32,
    /// Consumers; the broker reports 0 for a stream.
    pub consumers: u32,
}

/// The sizes of the queues as of now: the management API lags by seconds. Needs no permission.
pub async fn depths(amqp_url: &str, queues: &[String]) -> Result<BTreeMap<String, Depth>, BrokerError> {
    let connection = connect(amqp_url, "inspection").await?;
    let channel = connection.create_channel().await?;
    let mut depths = BTreeMap::new();
    for queue in queues {
        let declared = look_at(&channel, queue).await?;
        let depth = Depth { messages: declared.message_count(), consumers: declared.consumer_count() };
        depths.insert(queue.clone(), depth);
    }
    close(&connection).await?;
    Ok(depths)
}

/// The offset that the next message of the event stream will have; 0 while the stream is empty. The broker counts the
/// messages of a stream only every few seconds, so the last of them are read. While events are published it may be one that
/// was the end a moment ago. Needs the permission to read the stream.
pub async fn stream_end(amqp_url: &str) -> Result<i64, BrokerError> {
    let late = || BrokerError::Unavailable("it did not show the end of the event stream in 10 s".to_owned());
    timeout(END_LIMIT, read_stream_end(amqp_url)).await.map_err(|_| late())?
}

async fn read_stream_end(amqp_url: &str) -> Result<i64, BrokerError> {
    let mut receiver =
        ReceiverConnection::of_user(amqp_url, "inspection").await?.end_of_event_stream().await?;
    let deadline = Instant::now() + CHUNK;
    let (mut end, mut next_by) = (0, deadline);
    while let Ok(received) = timeout_at(next_by, receiver.receive()).await {
        let messages = received?;
        let last = messages.iter().filter_map(RawMessage::stream_offset).max();
        end = end.max(last.map_or(0, |last| last + 1));
        receiver.ack_through(&messages).await?;
        next_by = deadline.min(Instant::now() + CHUNK_OVER);
    }
    receiver.close().await?;
    Ok(end)
}
