//! Dead letters: list, replay and discard them.
//!
//! A service with a queue has its dead letters in another queue; one that reads the event stream has them in a table. A
//! [`DeadLetterSession`] shows both alike. AMQP can only show messages by delivering them, so the session holds the whole
//! queue and releases it in the end; a lock in the service's database keeps out a second session, which would see an empty
//! queue.
//!
//! No action is ever in effect without its record in `messaging.dead_letter_actions`. For the table both are one
//! transaction. For a queue an action is recorded before it is carried out, and marked as done afterwards; a replay is
//! published, confirmed, and only then removed. After a crash in between both exist, and the inbox knows the message.
//! A dead letter of the table is replayed by the [reader](crate::stream_reader) on request: only the reader writes the
//! handler's tables.

mod actions;
mod dead_letter;
mod table;

use std::{str::FromStr, time::Duration};

use amqp::{BrokerError, Headers, HeldQueue, OutgoingMessage, topology};
use anyhow::{Context, Result, anyhow, bail, ensure};
use contracts::ServiceName;
use runtime::{clock, error::with_sources};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

pub use actions::{Action, RecordedAction, Request};
pub use dead_letter::{DeadLetter, DeadLetterId, hex};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait until another session of the same service is closed.
const LOCK_TIMEOUT: &str = "30s";
const EXAMPLE_URL: &str = "postgres://order:order@localhost:5432/order";
/// Any number, the same in all processes.
const SESSION_LOCK: i64 = 0x0064_6561_642d_6c65;
const RECORDED_AT_ONCE: usize = 100;

#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub service: ServiceName,
    pub database_url: &'a str,
    /// The broker, with a user that may read and replay its dead letters; none for a service that reads the event stream,
    /// whose dead letters are in its database.
    pub amqp_url: Option<&'a str>,
}

/// All dead letters of one service, held until the session is closed or dropped, or its process ends.
pub struct DeadLetterSession {
    pub service: ServiceName,
    database: PgConnection,
    queue: Option<HeldQueue>,
    dead_letters: Vec<DeadLetter>,
}

impl DeadLetterSession {
    /// Holds the dead letters. Waits for another session of the service; to open sessions of several services, use the
    /// same order everywhere, or two processes may wait for each other. The error is one line.
    pub async fn open(source: &Source<'_>) -> Result<Self> {
        let service = source.service;
        let mut database = connect(source).await?;
        lock(&mut database, service).await?;
        let (queue, dead_letters) = match source.amqp_url {
            Some(amqp_url) => {
                let held = HeldQueue::hold(amqp_url, topology::dead_letter_queue(service.as_str())).await;
                let (queue, messages) = held.map_err(|error| {
                    let question = "is the broker up, and its URL right?";
                    anyhow!("cannot look at the dead letters of {service}: {question} {error:#}")
                })?;
                let dead_letters =
                    messages.iter().map(|message| DeadLetter::held(service, message)).collect();
                (Some(queue), dead_letters)
            }
            None => (None, table::all(&mut database, service).await?),
        };
        Ok(Self { service, database, queue, dead_letters })
    }

    /// The dead letters that are held, in no particular order.
    pub fn dead_letters(&self) -> &[DeadLetter] {
        &self.dead_letters
    }

    /// Replays or discards the dead letters that the ids name, and returns their number; they are not held any more. A
    /// replay is done when the message is in the service's queue again, or requested from the stream reader. After an error
    /// some may be done, and the others are unchanged.
    pub async fn act(&mut self, action: Action, ids: &[DeadLetterId], request: &Request) -> Result<usize> {
        let held = std::mem::take(&mut self.dead_letters).into_iter();
        let (chosen, rest): (Vec<_>, _) = held.partition(|dead_letter| ids.contains(&dead_letter.id));
        self.dead_letters = rest;
        let chosen: Vec<_> = chosen.iter().collect();
        match &self.queue {
            Some(queue) => {
                for chunk in chosen.chunks(RECORDED_AT_ONCE) {
                    act_on_queue(&mut self.database, queue, action, chunk, request).await?;
                }
            }
            None => act_on_table(&mut self.database, action, &chosen, request).await?,
        }
        Ok(chosen.len())
    }

    /// Releases the dead letters that are still held. A broker that fails requeues them by itself.
    pub async fn close(self) -> Result<()> {
        if let Some(queue) = self.queue {
            queue.release(self.dead_letters.len()).await?;
        }
        // The lock goes last: the next session must find every message in the queue.
        Ok(self.database.close().await?)
    }
}

/// Every action on the dead letters of a service, in the order of time.
pub async fn history(source: &Source<'_>) -> Result<Vec<RecordedAction>> {
    let mut database = connect(source).await?;
    let actions = actions::all(&mut database).await?;
    database.close().await?;
    Ok(actions)
}

async fn act_on_queue(
    database: &mut PgConnection,
    queue: &HeldQueue,
    action: Action,
    dead_letters: &[&DeadLetter],
    request: &Request,
) -> Result<()> {
    let recorded = actions::record(database, action, dead_letters, request).await?;
    for (count, dead_letter) in dead_letters.iter().enumerate() {
        let acted = async {
            if action == Action::Replay {
                replay(queue, dead_letter).await?;
            }
            queue.remove(dead_letter.place).await
        };
        if let Err(error) = acted.await {
            // When the broker does not answer, none is marked: it is unknown which removals it has carried out.
            if queue.settle().await.is_ok() {
                actions::done(database, &recorded[..count]).await?;
            }
            return Err(error)
                .context("some dead letters were not processed and are unchanged: list them and try again");
        }
    }
    queue.settle().await?;
    Ok(actions::done(database, &recorded).await?)
}

/// Publishes a dead letter to the events queue of its service without any headers, so that it has all its attempts again.
async fn replay(queue: &HeldQueue, dead_letter: &DeadLetter) -> Result<(), BrokerError> {
    let service = dead_letter.service.as_str();
    // Without an id its confirm could not be told from others.
    let id = Some(&dead_letter.message_id).filter(|id| !id.is_empty());
    let message = OutgoingMessage {
        id: id.cloned().unwrap_or_else(|| clock::new_id().to_string()),
        exchange: &topology::own_exchange(service),
        routing_key: &topology::events_queue(service),
        content_type: dead_letter.content_type.as_deref().unwrap_or("application/octet-stream"),
        headers: Headers::default(),
        body: &dead_letter.body,
    };
    queue.publisher.publish_one(message).await
}

async fn act_on_table(
    database: &mut PgConnection,
    action: Action,
    dead_letters: &[&DeadLetter],
    request: &Request,
) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the connection is no pool's: it ends with the session")]
    let mut tx = database.begin().await?;
    let recorded = actions::record(&mut tx, action, dead_letters, request).await?;
    let found = match action {
        Action::Replay => table::request_replay(&mut tx, dead_letters).await?,
        Action::Discard => table::remove(&mut tx, dead_letters).await?,
    };
    ensure!(
        found == dead_letters.len() as u64,
        "the stream reader has replayed some of these dead letters meanwhile, and nothing was changed: list them again"
    );
    actions::done(&mut tx, &recorded).await?;
    Ok(tx.commit().await?)
}

async fn connect(source: &Source<'_>) -> Result<PgConnection> {
    let service = source.service;
    let options = PgConnectOptions::from_str(source.database_url)
        .map_err(|_| anyhow!("the database URL of {service} is not valid: use one such as {EXAMPLE_URL}"))?
        .application_name("sagactl dead-letters")
        .options([("lock_timeout", LOCK_TIMEOUT)]);
    let connected = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    let mut database = connected.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|error| {
        let why = with_sources(&error);
        anyhow!("cannot open the database of {service}: is it up, and its URL right? {why}")
    })?;
    let migrated =
        sqlx::query_scalar!(r#"select to_regclass('messaging.dead_letter_actions') is not null as "is!""#)
            .fetch_one(&mut database)
            .await?;
    ensure!(migrated, "the database of {service} is not up to date: start the service, which migrates it");
    Ok(database)
}

async fn lock(database: &mut PgConnection, service: ServiceName) -> Result<()> {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    match sqlx::query!("select pg_advisory_lock($1)", SESSION_LOCK).execute(database).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            bail!("another session holds the dead letters of {service}: wait until it is closed")
        }
        Err(error) => Err(error.into()),
    }
}
