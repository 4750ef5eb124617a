//! The relay: publishes what the outbox holds, in its order, and deletes what the broker confirmed.
//!
//! One relay per database leads. It holds a session advisory lock on the very connection that it reads and deletes
//! with, so that a leader whose connection is gone is none any more. There is no cursor: ids are drawn before
//! the commit, and a row that becomes visible behind a cursor would be lost.

use std::time::Duration;

use amqp::topology::EVENTS_EXCHANGE;
use amqp::{BrokerError, ConfirmChannel, Headers, OutgoingMessage, Publisher};
use runtime::{
    database::answer,
    error::with_sources,
    health::{Health, HealthItem},
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::failpoint::{self, Failpoint};
use crate::metrics::METRICS;
use crate::outbox::Outbox;
use crate::throttle::{self, BatchThrottle};

/// Events that are read and published at once, and confirms outstanding.
const WINDOW: usize = 256;
/// The net under the wake-up: events of another replica, or a wake-up that was lost.
const POLL: Duration = Duration::from_millis(250);
const BACKOFF_BASE: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The advisory lock of the relay that leads. Any number, the same in all replicas.
pub const LEADER_LOCK: i64 = 0x6f75_7462_6f78;

/// The session of a leader: a peer that is gone is noticed within 5 + 2 * 3 s, and a delete that is lost is only a
/// duplicate, so it need not wait for the disk.
const SESSION: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("synchronous_commit", "off"),
];

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("database: {}", with_sources(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("{unconfirmed} of {published} events were not confirmed and will be published again")]
    Unconfirmed { unconfirmed: usize, published: usize },
}

/// Relays until the shutdown. A replica that does not lead waits for its turn.
///
/// # Errors
/// None; it goes on after every failure. The signature is that of a task.
pub async fn run(
    pool: PgPool,
    publisher: Publisher,
    outbox: Outbox,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let item = health.item("relay");
    let relay = Relay { pool, publisher, outbox, item };
    let mut attempt = 0;
    loop {
        let mut progressed = false;
        let ended = tokio::select! {
            ended = relay.follow_or_lead(&mut progressed) => ended,
            () = shutdown.cancelled() => return Ok(()),
        };
        if progressed {
            attempt = 0;
        }
        if let Err(error) = ended {
            relay.item.down(error.to_string());
        }
        let wait = runtime::retry::backoff(attempt, BACKOFF_BASE, BACKOFF_CAP);
        attempt += 1;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

struct Relay {
    pool: PgPool,
    publisher: Publisher,
    outbox: Outbox,
    item: HealthItem,
}

struct Row {
    id: i64,
    event_id: Uuid,
    routing_key: String,
    body: String,
}

impl Relay {
    async fn follow_or_lead(&self, progressed: &mut bool) -> Result<(), RelayError> {
        let options = self.pool.connect_options().as_ref().clone().options(SESSION);
        let mut conn = answer(ANSWER_TIMEOUT, PgConnection::connect_with(&options)).await?;
        while !answer(ANSWER_TIMEOUT, try_to_lead(&mut conn)).await? {
            self.item.up();
            tokio::time::sleep(POLL).await;
        }
        tracing::info!("this relay leads");
        self.lead(&mut conn, progressed).await
    }

    async fn lead(&self, conn: &mut PgConnection, progressed: &mut bool) -> Result<(), RelayError> {
        let channel = self.publisher.events_channel().await?;
        let mut throttle = BatchThrottle::new(throttle::INTERVAL);
        let (mut published, mut confirmed) = (0, Vec::new());
        loop {
            throttle.ready().await;
            let rows = answer(ANSWER_TIMEOUT, delete_and_read(conn, &confirmed)).await?;
            METRICS.sent(confirmed.len());
            *progressed |= !confirmed.is_empty();
            if confirmed.len() < published {
                let unconfirmed = published - confirmed.len();
                return Err(RelayError::Unconfirmed { unconfirmed, published });
            }
            if rows.is_empty() || published > 0 {
                self.item.up();
            }
            if rows.is_empty() {
                (published, confirmed) = (0, Vec::new());
                // Either way the table is read again.
                let _ = tokio::time::timeout(POLL, self.outbox.announced.notified()).await;
            } else {
                throttle.begin_with(rows.len(), WINDOW);
                (published, confirmed) = (rows.len(), publish(&channel, &rows).await);
                throttle.end();
            }
        }
    }
}

impl Row {
    fn message(&self) -> OutgoingMessage<'_> {
        OutgoingMessage {
            id: self.event_id.to_string(),
            exchange: EVENTS_EXCHANGE,
            routing_key: &self.routing_key,
            content_type: contracts::envelope::CONTENT_TYPE,
            headers: Headers::default(),
            body: self.body.as_bytes(),
        }
    }
}

/// Publishes the rows, and gives back those that were confirmed.
async fn publish(channel: &ConfirmChannel, rows: &[Row]) -> Vec<i64> {
    let messages: Vec<_> = rows.iter().map(Row::message).collect();
    let pending = channel.publish(&messages).await;
    failpoint::hit(Failpoint::AfterPublish);
    let confirmed = pending.confirmed().await;
    failpoint::hit(Failpoint::AfterConfirm);
    let of_confirmed = rows.iter().filter(|row| confirmed.contains(&row.event_id.to_string()));
    of_confirmed.map(|row| row.id).collect()
}

async fn try_to_lead(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "leads!""#, LEADER_LOCK).fetch_one(conn).await
}

/// Deletes what is done and reads what waits, in one round trip.
async fn delete_and_read(conn: &mut PgConnection, done: &[i64]) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        // What the first part deletes the second still sees.
        "with done as (delete from messaging.outbox where id = any($1))
         select id, event_id, routing_key, body from messaging.outbox where id <> all($1) order by id limit $2",
        done,
        WINDOW as i64
    )
    .fetch_all(conn)
    .await
}
