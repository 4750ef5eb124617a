//! The relay: publishes the rows of the outbox in their order, and deletes those that the broker confirmed.
//!
//! One relay per database leads, by a [lease](crate::lease). There is no cursor: ids are drawn before the commit, and a row
//! that becomes visible behind a cursor would be lost.
//!
//! An event may hold up only the later events of its own subject:
//!
//! | the broker | the relay |
//! |---|---|
//! | closes the channel over an event, or does not take it | holds the event for 1 s to 15 s, with the broker's words, and goes on |
//! | does not confirm an event within 1 s | goes on with the next events |
//! | does not confirm it within 15 s | holds the event, and opens another connection |
//! | blocks publishers | waits |
//! | ends the connection | publishes again what was not confirmed |

mod leader;

use std::time::Duration;

use amqp::{BrokerError, Publisher};
use runtime::{
    config::{MAX_DRAIN, MAX_SHUTDOWN_DELAY},
    database::answer,
    error::with_sources,
    health::{Health, HealthItem},
    tasks::GRACE,
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::failure_policy::backoff;
use crate::lease::{Lease, LeaseError};
use crate::unit_of_work::UnitOfWork;
use leader::Leader;

/// The name of the relay's lease.
pub const LEASE: &str = "relay";
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

/// Options of the relay's connection. A peer that does not answer is noticed within 5 + 2 * 3 s. A delete that is lost
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
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("{unconfirmed} of {published} events were not confirmed and will be published again: {reason}")]
    Unconfirmed { unconfirmed: usize, published: usize, reason: String },
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
    let relay = Relay { pool, publisher, unit_of_work, health, item, stop };
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
    health: Health,
    item: HealthItem,
    stop: CancellationToken,
}

impl Relay {
    async fn follow_or_lead(&self, progressed: &mut bool) -> Result<(), RelayError> {
        let options = self.pool.connect_options().as_ref().clone().options(CONNECTION_OPTIONS);
        let mut conn = answer(ANSWER_TIMEOUT, PgConnection::connect_with(&options)).await?;
        let lease = loop {
            if let Some(lease) = answer(ANSWER_TIMEOUT, Lease::try_acquire(&mut conn, LEASE)).await? {
                break lease;
            }
            self.item.up();
            if self.stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                return Ok(());
            }
        };
        tracing::info!(token = lease.token, "this relay leads");
        // The lease ends with the connection.
        Leader::new(self, conn, lease).await?.lead(progressed).await
    }
}
