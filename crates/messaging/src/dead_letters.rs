//! Dead letters in the hands of a person: to look at, to try again, to remove.
//!
//! A service that hears from a queue has its dead letters in another; one that reads the log has them in a table.
//! A [`DeadLetterSession`] shows both alike. To look at a queue, all of it is taken in hand and given back, since AMQP has no
//! other way; a lock in the service's database keeps a second session out meanwhile, which would see an empty queue.
//!
//! What is done is noted in `messaging.dead_letter_actions`, in the database of the service concerned: it is durable,
//! is backed up with what the action was about, asks for no further server, and for the table it is one transaction
//! with the action itself. For a queue there is no such transaction, so an action is noted before it is carried out,
//! and marked afterwards. A replay is published, confirmed, and only then removed. After a crash in between, the
//! letter is still there although its message is on its way: to replay it again is harmless, because the inbox knows
//! the message. No action is ever in effect without a note of it.
//!
//! A letter of the table is not applied here, but by the [reader](crate::stream) on request: it alone writes to the
//! tables, and takes event, inbox and letter into one transaction, so that the event counts exactly once.

mod actions;
mod dead_letter;
mod queue;
mod table;

use std::{str::FromStr, time::Duration};

use amqp::{HeldQueue, topology};
use anyhow::{Context, Result, anyhow, bail, ensure};
use contracts::ServiceName;
use runtime::error::with_sources;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

pub use actions::{Action, Request, Taken};
pub use dead_letter::{DeadLetter, DeadLetterId, hex};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for another session of the same service to be closed.
const LOCK_TIMEOUT: &str = "30s";
const EXAMPLE_URL: &str = "postgres://order:order@localhost:5432/order";
/// Any number, the same in all processes.
const DESK_LOCK: i64 = 0x0064_6561_642d_6c65;
/// Letters whose actions are noted at once.
const NOTED_AT_ONCE: usize = 100;

/// Where the dead letters of a service are.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The service.
    pub service: ServiceName,
    /// The service's database.
    pub database_url: &'a str,
    /// The broker, with a user that may read its dead letters and put them back; none for a service that reads the
    /// log, whose dead letters are in its database.
    pub amqp_url: Option<&'a str>,
}

/// All dead letters of one service, held until the session is closed. Dropped, or in a process that ends, it puts them
/// back as well.
pub struct DeadLetterSession {
    service: ServiceName,
    database: PgConnection,
    queue: Option<HeldQueue>,
    letters: Vec<DeadLetter>,
}

impl DeadLetterSession {
    /// Takes the letters in hand. Open the desks of several services in the same order everywhere: each waits for
    /// one that is open already.
    ///
    /// # Errors
    /// One line, when the database or the broker is away or refuses, or another session is not closed within 30 s.
    pub async fn open(source: &Source<'_>) -> Result<Self> {
        let service = source.service;
        let mut database = connect(source).await?;
        lock(&mut database, service).await?;
        let (queue, letters) = match source.amqp_url {
            Some(amqp_url) => {
                let held = HeldQueue::hold(amqp_url, topology::dead_letter_queue(service.as_str())).await;
                let (queue, messages) = held.map_err(|error| {
                    let question = "is the broker up, and its URL right?";
                    anyhow!("cannot look at the dead letters of {service}: {question} {error:#}")
                })?;
                let letters = messages.iter().map(|message| DeadLetter::held(service, message)).collect();
                (Some(queue), letters)
            }
            None => (None, table::letters(&mut database, service).await?),
        };
        Ok(Self { service, database, queue, letters })
    }

    /// The service whose letters these are.
    #[must_use]
    pub fn service(&self) -> ServiceName {
        self.service
    }

    /// The letters in hand, in no particular order.
    #[must_use]
    pub fn letters(&self) -> &[DeadLetter] {
        &self.letters
    }

    /// Does something with those letters that the ids name, says with how many, and has them in hand no more. A
    /// replay is done when the message is back in the service's queue, or the reader of the log is asked for it.
    ///
    /// # Errors
    /// When the broker or the database fails on the way: then some letters may be done, and some left as they were.
    pub async fn act(&mut self, action: Action, ids: &[DeadLetterId], request: &Request) -> Result<usize> {
        let in_hand = std::mem::take(&mut self.letters).into_iter();
        let (chosen, rest): (Vec<_>, _) = in_hand.partition(|letter| ids.contains(&letter.id));
        self.letters = rest;
        let chosen: Vec<_> = chosen.iter().collect();
        match &self.queue {
            Some(queue) => {
                for chunk in chosen.chunks(NOTED_AT_ONCE) {
                    act_on_queue(&mut self.database, queue, action, chunk, request).await?;
                }
            }
            None => act_on_table(&mut self.database, action, &chosen, request).await?,
        }
        Ok(chosen.len())
    }

    /// Puts back what is still in hand.
    ///
    /// # Errors
    /// When the broker is gone; then it puts the letters back by itself.
    pub async fn close(self) -> Result<()> {
        if let Some(queue) = self.queue {
            queue.release(self.letters.len()).await?;
        }
        // Only now may the next one look.
        Ok(self.database.close().await?)
    }
}

/// Every action that was taken on the dead letters of a service, the first one first.
///
/// # Errors
/// When the database is away or refuses.
pub async fn history(source: &Source<'_>) -> Result<Vec<Taken>> {
    let mut database = connect(source).await?;
    let taken = actions::all(&mut database).await?;
    database.close().await?;
    Ok(taken)
}

async fn act_on_queue(
    database: &mut PgConnection,
    queue: &HeldQueue,
    action: Action,
    letters: &[&DeadLetter],
    request: &Request,
) -> Result<()> {
    let notes = actions::note(database, action, letters, request).await?;
    for (count, letter) in letters.iter().enumerate() {
        let acted = async {
            if action == Action::Replay {
                queue::put_back(queue, letter).await?;
            }
            queue.remove(letter.place).await
        };
        if let Err(error) = acted.await {
            // Where it is not known what the broker took, nothing is said to be done.
            if queue.settle().await.is_ok() {
                actions::done(database, &notes[..count]).await?;
            }
            return Err(error).context(
                "not every letter was worked off, and the others are where they were: list them, and go on",
            );
        }
    }
    queue.settle().await?;
    Ok(actions::done(database, &notes).await?)
}

async fn act_on_table(
    database: &mut PgConnection,
    action: Action,
    letters: &[&DeadLetter],
    request: &Request,
) -> Result<()> {
    let mut tx = database.begin().await?;
    let notes = actions::note(&mut tx, action, letters, request).await?;
    let found = match action {
        Action::Replay => table::request_replay(&mut tx, letters).await?,
        Action::Discard => table::remove(&mut tx, letters).await?,
    };
    ensure!(
        found == letters.len() as u64,
        "some of these letters were taken up by the reader meanwhile, and nothing was done: list them again"
    );
    actions::done(&mut tx, &notes).await?;
    Ok(tx.commit().await?)
}

async fn connect(source: &Source<'_>) -> Result<PgConnection> {
    let service = source.service;
    let options = PgConnectOptions::from_str(source.database_url)
        .map_err(|_| anyhow!("the URL of the database of {service} is none: give one such as {EXAMPLE_URL}"))?
        .application_name("shop dead-letters")
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
    match sqlx::query!("select pg_advisory_lock($1)", DESK_LOCK).execute(database).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            bail!("somebody else has the dead letters of {service} in hand: wait until they are done")
        }
        Err(error) => Err(error.into()),
    }
}
