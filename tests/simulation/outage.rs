//! Outages of the order service's own connections to the broker: its events do not leave, or it does not consume, or
//! both. Its deadlines measure the participants, so what they could not do meanwhile does not count against them.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{CancelReason, Envelope, Event, OrderId};
use order::domain::{MAX_GAP, MAX_LAG};
use system::Service;

use crate::choices::Choices;
use crate::invariants::{Checked, Violation};
use crate::plan::number;
use crate::services::{DEADLINE, LATEST_DEADLINE};
use crate::world::World;

/// How often the order service looks whether messages flow.
const LOOK: TimeDelta = TimeDelta::seconds(1);
/// The most looks while time passes at once. No deadline outlasts more.
const MOST_LOOKS: i64 = 60;

/// What the order service cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    Publishing,
    Consuming,
    Both,
}

/// The connections of the order service, and what really happened to them.
#[derive(Default)]
pub(crate) struct Connections {
    /// The outage that lasts, and when it began.
    outage: Option<(Outage, DateTime<Utc>)>,
    /// How many more there may be.
    left: usize,
    /// When the last one ended that is long enough to be noticed.
    restored_at: DateTime<Utc>,
    /// When each `order.placed` first left.
    placed_left_at: HashMap<OrderId, DateTime<Utc>>,
}

impl Connections {
    pub(crate) fn new(choices: &mut Choices) -> Self {
        Self { left: choices.of(&[0, 0, 1, 2]), ..Self::default() }
    }

    pub(crate) fn may_publish(&self) -> bool {
        !matches!(self.outage, Some((Outage::Publishing | Outage::Both, _)))
    }

    pub(crate) fn may_consume(&self) -> bool {
        !matches!(self.outage, Some((Outage::Consuming | Outage::Both, _)))
    }

    pub(crate) fn may_break(&self) -> bool {
        self.left > 0 && self.outage.is_none()
    }

    pub(crate) fn are_broken(&self) -> bool {
        self.outage.is_some()
    }

    pub(crate) fn leaves(&mut self, message: &Envelope, now: DateTime<Utc>) {
        if let Event::OrderPlaced(placed) = &message.event {
            self.placed_left_at.entry(placed.order_id).or_insert(now);
        }
    }

    /// When the last outage ended that must not count; now while it lasts.
    fn restored_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self.outage {
            Some((_, begun)) if now - begun > MAX_GAP => now,
            _ => self.restored_at,
        }
    }
}

impl World {
    pub(crate) fn break_connections(&mut self) {
        let outage = self.choices.of(&[Outage::Publishing, Outage::Consuming, Outage::Both]);
        self.connections.left -= 1;
        self.connections.outage = Some((outage, self.now));
        self.trace.note(|| format!("an outage of the order service begins: {outage:?}"));
    }

    pub(crate) fn restore_connections(&mut self) {
        self.connections.restored_at = self.connections.restored_at(self.now);
        self.connections.outage = None;
        self.trace.note(|| "the outage of the order service ends".to_owned());
    }

    /// Lets time pass. The order service goes on looking whether messages flow.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let looks = seconds.min(MOST_LOOKS);
        for _ in 0..looks {
            self.now += LOOK;
            self.note_flow();
        }
        if seconds > looks {
            self.now += TimeDelta::seconds(seconds - looks);
            self.note_flow();
        }
    }

    /// Whether the order service sees messages flow.
    pub(crate) fn flows(&self) -> bool {
        let oldest = self.outboxes[Service::Order as usize].front();
        self.connections.outage.is_none() && oldest.is_none_or(|oldest| self.now - oldest.time <= MAX_LAG)
    }

    fn note_flow(&mut self) {
        if self.flows() {
            let flow = &mut self.tables.orders.flow;
            *flow = (self.system.flow)(*flow, self.now);
        }
    }

    /// What holds when the order service commits these messages: no order is too late because of an outage of its own.
    pub(crate) fn participants_had_their_time(&self, events: &[Event]) -> Checked<()> {
        for event in events {
            match event {
                Event::OrderCancelled(cancelled) if cancelled.reason == CancelReason::TimedOut => {
                    self.participants_had_the_time_of(cancelled.order_id)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn participants_had_the_time_of(&self, order_id: OrderId) -> Checked<()> {
        let placed_at = self.tables.orders.rows[&order_id].placed_at;
        let mut waiting = self.outboxes[Service::Order as usize].iter();
        let waits = waiting.any(
            |message| matches!(&message.event, Event::OrderPlaced(placed) if placed.order_id == order_id),
        );
        let left_at = self.connections.placed_left_at.get(&order_id).copied();
        let left_at = if waits { self.now } else { left_at.unwrap_or(placed_at) };
        let since = left_at.max(self.connections.restored_at(self.now));
        let unnoticed = MAX_GAP + MAX_LAG + LOOK;
        let had_their_time = self.now - since >= DEADLINE - unnoticed;
        if had_their_time || self.now >= placed_at + LATEST_DEADLINE {
            return Ok(());
        }
        let found = format!("order {}: {} s", number(order_id), (self.now - since).num_seconds());
        Err(Violation::new("no order times out by an outage of our own", found))
    }
}
