//! What the relay does that leads.

use std::collections::{HashMap, HashSet};

use amqp::topology::EVENTS_EXCHANGE;
use amqp::{CONFIRM_LIMIT, ConfirmChannel, Fate, OutgoingMessage};
use runtime::database::answer;
use sqlx::PgConnection;
use tokio::time::{Duration, Instant};

use super::{ANSWER_TIMEOUT, POLL, Relay, RelayError};
use crate::failpoint::{self, Failpoint};
use crate::lease::Lease;
use crate::metrics::METRICS;
use crate::outbox::{self, Row, Window};
use crate::throttle::{self, BatchThrottle};

/// Events that are read and published at once.
const WINDOW: usize = 256;
/// The most events whose confirms are pending, when some come late.
const MAX_IN_FLIGHT: usize = 4 * WINDOW;
/// How long the confirms of a window are waited for before the next one.
const STRAGGLE: Duration = Duration::from_secs(1);
/// How often the leader looks whether the event stream is still there, and which events are held.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How often the outbox is read from its first row. A row may become visible behind others that have higher ids.
const FULL_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Otherwise it is read from so many ids before the last that was read. A long snapshot of somebody else keeps the
/// deleted rows before them, which each look would walk.
const LOOK_BACK: i64 = 2_000;

pub(super) struct Leader<'a> {
    relay: &'a Relay,
    conn: PgConnection,
    lease: Lease,
    channel: ConfirmChannel,
    in_flight: HashMap<String, InFlight>,
    /// The rows that the broker has, and that are to be deleted.
    confirmed: Vec<i64>,
    /// The rows that it did not take, and why.
    refused: Vec<(i64, String)>,
    /// Why the connection is of no use any more.
    lost: Option<String>,
    highest: i64,
    full_look: Instant,
    upkeep: Instant,
}

/// An event whose confirm is pending.
struct InFlight {
    row: Row,
    published: Instant,
}

impl<'a> Leader<'a> {
    pub(super) async fn new(relay: &'a Relay, conn: PgConnection, lease: Lease) -> Result<Self, RelayError> {
        let now = Instant::now();
        Ok(Self {
            channel: relay.publisher.events_channel().await?,
            relay,
            conn,
            lease,
            in_flight: HashMap::new(),
            confirmed: Vec::new(),
            refused: Vec::new(),
            lost: None,
            highest: 0,
            full_look: now,
            upkeep: now,
        })
    }

    /// Publishes until it is to stop and the outbox is empty, or until a failure.
    pub(super) async fn lead(mut self, progressed: &mut bool) -> Result<(), RelayError> {
        let mut throttle = BatchThrottle::new(throttle::INTERVAL);
        // Whether all events of this process were read, which writes no more. Another replica publishes its own.
        let mut is_flushed = false;
        loop {
            throttle.ready().await;
            self.keep_up().await?;
            let stops = self.relay.stop.is_cancelled();
            let sent = self.confirmed.len();
            let rows = self.record_and_read().await?;
            *progressed |= sent > 0;
            if let Some(reason) = self.lost.take() {
                let unconfirmed = self.in_flight.len();
                return Err(RelayError::Unconfirmed { unconfirmed, published: unconfirmed + sent, reason });
            }
            if rows.is_empty() || sent > 0 {
                self.relay.item.up();
            }
            if stops && self.in_flight.is_empty() && (is_flushed || rows.is_empty()) {
                let released = answer(ANSWER_TIMEOUT, self.lease.release(&mut self.conn)).await;
                return Ok(released?);
            }
            is_flushed = stops && rows.len() < WINDOW;
            if rows.is_empty() {
                self.wait().await;
            } else {
                throttle.begin_with(rows.len(), WINDOW);
                self.publish(rows).await;
                throttle.end();
            }
            self.give_up_late_ones().await?;
        }
    }

    /// Deletes what was confirmed, holds what was refused, and reads the next rows.
    async fn record_and_read(&mut self) -> Result<Vec<Row>, RelayError> {
        if !self.refused.is_empty() {
            self.hold_refused().await?;
            // A channel whose first message came while a queue had no leader may be refused everything (RabbitMQ 3.10).
            self.replace_channel().await?;
        }
        let is_full = self.full_look.elapsed() >= FULL_LOOK_INTERVAL;
        if is_full {
            self.full_look = Instant::now();
        }
        let in_flight: Vec<_> = self.in_flight.values().map(|event| event.row.id).collect();
        let room = MAX_IN_FLIGHT.saturating_sub(in_flight.len()).min(WINDOW);
        let limit = if self.relay.publisher.is_blocked() { 0 } else { room };
        let window = Window {
            floor: if is_full { 0 } else { self.highest - LOOK_BACK },
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            in_flight: &in_flight,
        };
        let read = outbox::delete_and_read(&mut self.conn, self.lease.token, &self.confirmed, &window);
        let rows = answer(ANSWER_TIMEOUT, read).await?;
        METRICS.sent(self.confirmed.len());
        self.confirmed.clear();
        self.highest = rows.last().map_or(self.highest, |row| row.id.max(self.highest));
        Ok(rows)
    }

    async fn publish(&mut self, rows: Vec<Row>) {
        let ids: Vec<_> = rows.iter().map(|row| row.event_id.to_string()).collect();
        let messages: Vec<_> = rows.iter().zip(&ids).map(|(row, id)| message(row, id)).collect();
        self.channel.publish(&messages).await;
        failpoint::hit(Failpoint::AfterPublishBeforeConfirm);
        let published = Instant::now();
        let awaited = ids.iter().cloned().collect();
        self.in_flight.extend(ids.into_iter().zip(rows).map(|(id, row)| (id, InFlight { row, published })));
        self.settle(awaited, published + STRAGGLE).await;
        failpoint::hit(Failpoint::AfterConfirmBeforeDelete);
    }

    /// Waits for something to do.
    async fn wait(&mut self) {
        if self.in_flight.is_empty() {
            let written = tokio::time::timeout(POLL, self.relay.unit_of_work.events_written.notified());
            // In any case the table is read again.
            let _ = self.relay.stop.run_until_cancelled(written).await;
        } else {
            let awaited = self.in_flight.keys().cloned().collect();
            self.settle(awaited, Instant::now() + POLL).await;
        }
    }

    /// Notes the fates that become known, until those of the awaited events are, or until the deadline.
    async fn settle(&mut self, mut awaited: HashSet<String>, deadline: Instant) {
        let mut suspects = Vec::new();
        while !awaited.is_empty()
            && let Some((id, fate)) = self.channel.next_fate(deadline).await
        {
            awaited.remove(&id);
            match fate {
                Fate::Confirmed => {
                    self.confirmed.extend(self.in_flight.remove(&id).map(|event| event.row.id));
                }
                Fate::Rejected(reason) => self.refuse(&id, reason),
                Fate::ChannelClosed(_) => suspects.extend(self.in_flight.remove(&id).map(|event| event.row)),
                Fate::Unknown(reason) => self.lost = Some(reason),
            }
        }
        if !suspects.is_empty()
            && let Err(error) = self.publish_singly(suspects).await
        {
            self.lost = Some(error.to_string());
        }
    }

    /// Opens another channel. The fates of what is pending on the old one are not known any more, and none of them can be
    /// taken for that of another event: they are published again.
    async fn replace_channel(&mut self) -> Result<(), RelayError> {
        self.channel = self.relay.publisher.events_channel().await?;
        self.in_flight.clear();
        Ok(())
    }

    async fn hold_refused(&mut self) -> Result<(), RelayError> {
        answer(ANSWER_TIMEOUT, outbox::hold(&mut self.conn, &self.refused)).await?;
        self.refused.clear();
        Ok(())
    }

    fn refuse(&mut self, id: &str, reason: String) {
        let Some(InFlight { row, .. }) = self.in_flight.remove(id) else { return };
        self.hold(&row, reason);
    }

    fn hold(&mut self, row: &Row, reason: String) {
        let (event_id, routing_key) = (row.event_id, &row.routing_key);
        tracing::error!(%event_id, routing_key, reason, "the broker did not take an event: it is held");
        self.refused.push((row.id, reason));
    }

    /// Finds out which events the broker refuses: each is published alone. Those of a subject that has one are left.
    async fn publish_singly(&mut self, mut rows: Vec<Row>) -> Result<(), RelayError> {
        rows.sort_by_key(|row| row.id);
        let mut held = HashSet::new();
        self.replace_channel().await?;
        for row in rows {
            if held.contains(&row.subject) {
                continue;
            }
            let id = row.event_id.to_string();
            self.channel.publish(&[message(&row, &id)]).await;
            let fate = self.channel.next_fate(Instant::now() + CONFIRM_LIMIT).await;
            match fate.map_or_else(|| Fate::Rejected(no_confirm()), |(_, fate)| fate) {
                Fate::Confirmed => self.confirmed.push(row.id),
                Fate::Rejected(reason) | Fate::ChannelClosed(reason) => {
                    self.hold(&row, reason);
                    held.insert(row.subject);
                    self.replace_channel().await?;
                }
                Fate::Unknown(reason) => {
                    self.lost = Some(reason);
                    break;
                }
            }
            self.renew().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), RelayError> {
        let renewed = tokio::time::timeout(ANSWER_TIMEOUT, self.lease.renew(&mut self.conn)).await;
        Ok(renewed.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))?)
    }

    /// Holds the events whose confirms are overdue, and gives the connection up.
    async fn give_up_late_ones(&mut self) -> Result<(), RelayError> {
        if self.relay.publisher.is_blocked() {
            // The broker takes nothing, and says so.
            let now = Instant::now();
            self.in_flight.values_mut().for_each(|event| event.published = now);
            return Ok(());
        }
        let late: Vec<_> = self
            .in_flight
            .iter()
            .filter(|(_, event)| event.published.elapsed() >= CONFIRM_LIMIT)
            .map(|(id, _)| id.clone())
            .collect();
        if late.is_empty() {
            return Ok(());
        }
        late.iter().for_each(|id| self.refuse(id, no_confirm()));
        self.hold_refused().await?;
        self.lost = Some(no_confirm());
        self.relay.publisher.give_up_connection();
        Ok(())
    }

    /// Renews the lease; looks every few seconds for the event stream and for events that are held.
    async fn keep_up(&mut self) -> Result<(), RelayError> {
        self.renew().await?;
        if self.upkeep.elapsed() < UPKEEP_INTERVAL || self.relay.publisher.is_blocked() {
            return Ok(());
        }
        self.upkeep = Instant::now();
        let held = answer(ANSWER_TIMEOUT, outbox::held(&mut self.conn)).await?;
        METRICS.held(held.count);
        match held.reason {
            Some(reason) => {
                let text = format!("{} events are held, the broker did not take them: {reason}", held.count);
                self.relay.health.note("outbox", text);
            }
            None => self.relay.health.drop_note("outbox"),
        }
        Ok(self.relay.publisher.ensure_topology().await?)
    }
}

fn message<'a>(row: &'a Row, id: &str) -> OutgoingMessage<'a> {
    OutgoingMessage {
        id: id.to_owned(),
        exchange: EVENTS_EXCHANGE,
        routing_key: &row.routing_key,
        content_type: contracts::envelope::CONTENT_TYPE,
        body: row.body.as_bytes(),
    }
}

fn no_confirm() -> String {
    format!("no confirm within {} s", CONFIRM_LIMIT.as_secs())
}
