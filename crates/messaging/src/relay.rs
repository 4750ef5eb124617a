//! The relay: publishes the rows of the outbox in their order, and deletes those that the broker confirmed.
//!
//! One relay per database leads. It holds a session advisory lock on the connection that it reads and deletes with, so
//! that a leader loses the lock together with its connection. There is no cursor: ids are drawn before the commit, and a
//! row that becomes visible behind a cursor would be lost.

use std::time::Duration;

use amqp::topology::EVENTS_EXCHANGE;
use amqp::{BrokerError, ConfirmChannel, Headers, OutgoingMessage, Publisher};
use runtime::{
    config::{MAX_DRAIN, MAX_SHUTDOWN_DELAY},
    database::answer,
    error::with_sources,
    health::{Health, HealthItem},
    tasks::GRACE,
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::failpoint::{self, Failpoint};
use crate::failure_policy::backoff;
use crate::metrics::METRICS;
use crate::outbox::{Row, delete_and_read};
use crate::throttle::{self, BatchThrottle};
use crate::unit_of_work::UnitOfWork;

/// Events that are read and published at once; the most confirms that are pending.
const WINDOW: usize = 256;
/// How often the outbox is polled: a wake-up may be lost, and events of another replica have none.
const POLL: Duration = Duration::from_millis(250);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the leader goes on publishing after it is to stop.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Requests are accepted and drained first; to cut one off takes up to half a second more.
const _: () = assert!(
    MAX_SHUTDOWN_DELAY.as_millis() + MAX_DRAIN.as_millis() + 500 + FLUSH_LIMIT.as_millis()
        < GRACE.as_millis()
);
/// The advisory lock of the relay that leads. Any number, the same in all replicas.
pub const LEADER_LOCK: i64 = 0x6f75_7462_6f78;

/// Options of the leader's connection. A peer that does not answer is noticed within 5 + 2 * 3 s. A delete that is lost
/// causes only a duplicate, so it need not wait for the disk.
const CONNECTION_OPTIONS: [(&str, &str); 4] = [
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

/// Relays until it is to stop, also after every failure; the leader then empties the outbox, for up to 2 s. A replica that
/// does not lead waits until it can.
pub async fn run(
    pool: PgPool,
    publisher: Publisher,
    unit_of_work: UnitOfWork,
    health: Health,
    stop: CancellationToken,
) {
    let item = health.item("relay");
    let relay = Relay { pool, publisher, unit_of_work, item, stop };
    let lead_again = async {
        let mut attempt = 0;
        loop {
            let mut progressed = false;
            if let Err(error) = relay.follow_or_lead(&mut progressed).await {
                relay.item.down(error.to_string());
            }
            if relay.stop.is_cancelled() {
                break;
            }
            attempt = if progressed { 0 } else { attempt + 1 };
            tokio::time::sleep(backoff(attempt)).await;
        }
    };
    let time_is_up = async {
        relay.stop.cancelled().await;
        if relay.item.is_up() {
            tokio::time::sleep(FLUSH_LIMIT).await;
        }
    };
    // What is cut off here is still in the outbox.
    tokio::select! {
        () = lead_again => {}
        () = time_is_up => {}
    }
}

struct Relay {
    pool: PgPool,
    publisher: Publisher,
    unit_of_work: UnitOfWork,
    item: HealthItem,
    stop: CancellationToken,
}

impl Relay {
    async fn follow_or_lead(&self, progressed: &mut bool) -> Result<(), RelayError> {
        let options = self.pool.connect_options().as_ref().clone().options(CONNECTION_OPTIONS);
        let mut conn = answer(ANSWER_TIMEOUT, PgConnection::connect_with(&options)).await?;
        while !answer(ANSWER_TIMEOUT, try_to_lead(&mut conn)).await? {
            self.item.up();
            if self.stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return Ok(());
            }
        }
        tracing::info!("this relay leads");
        self.lead(&mut conn, progressed).await
    }

    async fn lead(&self, conn: &mut PgConnection, progressed: &mut bool) -> Result<(), RelayError> {
        let channel = self.publisher.events_channel().await?;
        let mut throttle = BatchThrottle::new(throttle::INTERVAL);
        let (mut published, mut confirmed) = (0, Vec::new());
        // Whether all events of this process were read, which writes no more. Another replica publishes its own.
        let mut is_flushed = false;
        loop {
            throttle.ready().await;
            let stops = self.stop.is_cancelled();
            let rows = answer(ANSWER_TIMEOUT, delete_and_read(conn, &confirmed, WINDOW as i64)).await?;
            METRICS.sent(confirmed.len());
            *progressed |= !confirmed.is_empty();
            if confirmed.len() < published {
                let unconfirmed = published - confirmed.len();
                return Err(RelayError::Unconfirmed { unconfirmed, published });
            }
            if rows.is_empty() || published > 0 {
                self.item.up();
            }
            if is_flushed || stops && rows.is_empty() {
                return Ok(());
            }
            is_flushed = stops && rows.len() < WINDOW;
            if rows.is_empty() {
                (published, confirmed) = (0, Vec::new());
                let written = tokio::time::timeout(POLL, self.unit_of_work.events_written.notified());
                // In any case the table is read again.
                let _ = self.stop.run_until_cancelled(written).await;
            } else {
                throttle.begin_with(rows.len(), WINDOW);
                (published, confirmed) = (rows.len(), publish(&channel, &rows).await);
                throttle.end();
            }
        }
    }
}

/// Publishes the rows, and returns the ids of those that were confirmed.
async fn publish(channel: &ConfirmChannel, rows: &[Row]) -> Vec<i64> {
    let messages = rows.iter().map(|row| OutgoingMessage {
        id: row.event_id.to_string(),
        exchange: EVENTS_EXCHANGE,
        routing_key: &row.routing_key,
        content_type: contracts::envelope::CONTENT_TYPE,
        headers: Headers::default(),
        body: row.body.as_bytes(),
    });
    let messages: Vec<_> = messages.collect();
    let pending = channel.publish(&messages).await;
    failpoint::hit(Failpoint::AfterPublishBeforeConfirm);
    let confirmed = pending.confirmed().await;
    failpoint::hit(Failpoint::AfterConfirmBeforeDelete);
    let of_confirmed = rows.iter().filter(|row| confirmed.contains(&row.event_id.to_string()));
    of_confirmed.map(|row| row.id).collect()
}

async fn try_to_lead(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "leads!""#, LEADER_LOCK).fetch_one(conn).await
}
