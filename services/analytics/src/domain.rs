//! What is counted, and how: the facts of each order, the counts that follow from them. Pure.
//!
//! Events come in any order. So an order is what is known of it, its status is a function of that, and what an
//! event changes in the counts is the difference between before and after. The counts therefore come out the same
//! whatever the order of the events was, as long as each is taken once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use contracts::{CancelReason, Currency, Event, Money, OrderId};
use strum::IntoStaticStr;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Status {
    /// Placed, and neither confirmed nor cancelled yet.
    Pending,
    /// Stock and money are there.
    Confirmed,
    Completed,
    Cancelled(CancelReason),
}

impl Status {
    pub fn reason(self) -> Option<CancelReason> {
        match self {
            Self::Cancelled(reason) => Some(reason),
            Self::Pending | Self::Confirmed | Self::Completed => None,
        }
    }

    pub fn from_words(status: &str, reason: Option<&str>) -> Option<Self> {
        match (status, reason) {
            ("pending", None) => Some(Self::Pending),
            ("confirmed", None) => Some(Self::Confirmed),
            ("completed", None) => Some(Self::Completed),
            ("cancelled", Some(reason)) => Some(Self::Cancelled(CancelReason::from_stored(reason))),
            _ => None,
        }
    }
}

/// What is known of one order. An event that happens once an order counts when it is consumed first; captures and refunds
/// may be several, told apart by their aggregate version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrderFacts {
    pub placed_at: Option<DateTime<Utc>>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub cancelled: Option<(DateTime<Utc>, CancelReason)>,
    /// Each capture by the aggregate version of its event.
    pub captures: BTreeMap<i64, Money>,
    /// Each refund by the aggregate version of its event.
    pub refunds: BTreeMap<i64, Money>,
    /// Each mail by the id of its notification: whether it was sent, or failed for good.
    pub mails: BTreeMap<Uuid, bool>,
}

impl OrderFacts {
    /// The status by what is known. An order is completed or cancelled and never both; were both consumed, the cancel
    /// would count, since it undoes everything else. Any event about an order says that it was placed, even when
    /// `order.placed` itself is still to come.
    pub fn status(&self) -> Status {
        match self {
            Self { cancelled: Some((_, reason)), .. } => Status::Cancelled(*reason),
            Self { completed_at: Some(_), .. } => Status::Completed,
            Self { confirmed_at: Some(_), .. } => Status::Confirmed,
            _ => Status::Pending,
        }
    }

    fn learn(&mut self, time: DateTime<Utc>, event: &Event, aggregate_version: i64) {
        match event {
            Event::OrderPlaced(_) => keep_first(&mut self.placed_at, time),
            Event::OrderConfirmed(_) => keep_first(&mut self.confirmed_at, time),
            Event::OrderCompleted(_) => keep_first(&mut self.completed_at, time),
            Event::OrderCancelled(data) => keep_first(&mut self.cancelled, (time, data.reason)),
            Event::PaymentCaptured(data) => {
                self.captures.entry(aggregate_version).or_insert_with(|| data.amount.clone());
            }
            Event::PaymentRefunded(data) => {
                self.refunds.entry(aggregate_version).or_insert_with(|| data.amount.clone());
            }
            Event::NotificationSent(data) => {
                self.mails.insert(data.notification_id, true);
            }
            Event::NotificationFailed(data) => {
                self.mails.entry(data.notification_id).or_insert(false);
            }
            _ => {}
        }
    }
}

fn keep_first<T>(known: &mut Option<T>, fact: T) {
    known.get_or_insert(fact);
}

/// Everything counted; also the difference between two counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub orders: BTreeMap<Status, i64>,
    pub revenue: BTreeMap<Currency, Revenue>,
    pub mails_sent: i64,
    /// Mails that the mail server refused.
    pub mails_failed: i64,
    pub events: i64,
    pub newest_event_at: Option<DateTime<Utc>>,
}

/// The money of one currency, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revenue {
    pub captured_minor: i64,
    pub refunded_minor: i64,
}

impl Revenue {
    pub fn net_minor(self) -> i64 {
        self.captured_minor.saturating_sub(self.refunded_minor)
    }
}

impl Counts {
    pub fn placed(&self) -> i64 {
        self.orders.values().sum()
    }

    /// The part of the orders placed that were completed, 0 to 1; none while there is no order.
    #[expect(clippy::cast_precision_loss, reason = "a ratio; exact up to 2^53 orders")]
    pub fn conversion(&self) -> Option<f64> {
        let completed = self.orders.get(&Status::Completed).copied().unwrap_or_default();
        (self.placed() > 0).then(|| completed as f64 / self.placed() as f64)
    }

    /// Adds what an order contributes, or with `by` -1 takes it away.
    fn add(&mut self, order: &OrderFacts, by: i64) {
        *self.orders.entry(order.status()).or_default() += by;
        for Money { amount_minor, currency } in order.captures.values() {
            let captured = &mut self.revenue.entry(currency.clone()).or_default().captured_minor;
            *captured = captured.saturating_add(by * amount_minor);
        }
        for Money { amount_minor, currency } in order.refunds.values() {
            let refunded = &mut self.revenue.entry(currency.clone()).or_default().refunded_minor;
            *refunded = refunded.saturating_add(by * amount_minor);
        }
        for sent in order.mails.values() {
            let mails = if *sent { &mut self.mails_sent } else { &mut self.mails_failed };
            *mails += by;
        }
    }
}

/// The orders that a batch is about, and what the batch changes.
#[derive(Debug, Default)]
pub struct Projection {
    orders: HashMap<OrderId, OrderFacts>,
    changed: BTreeSet<OrderId>,
    /// What is to be added to the counts.
    pub delta: Counts,
}

impl Projection {
    /// Begins with what is known of the orders of a batch; an order that nothing is known of is missing.
    pub fn of(orders: HashMap<OrderId, OrderFacts>) -> Self {
        Self { orders, ..Self::default() }
    }

    /// Counts an event, which is to be given once.
    pub fn count(&mut self, time: DateTime<Utc>, event: &Event, aggregate_version: i64) {
        self.delta.events += 1;
        self.delta.newest_event_at = self.delta.newest_event_at.max(Some(time));
        let Some(order_id) = event.order_id() else { return };
        let known = self.orders.get(&order_id);
        let mut order = known.cloned().unwrap_or_default();
        order.learn(time, event, aggregate_version);
        if known == Some(&order) {
            return;
        }
        if let Some(before) = known {
            self.delta.add(before, -1);
        }
        self.delta.add(&order, 1);
        self.orders.insert(order_id, order);
        self.changed.insert(order_id);
    }

    /// The orders of which something new is known.
    pub fn changed(&self) -> impl Iterator<Item = (OrderId, &OrderFacts)> {
        self.changed.iter().filter_map(|order_id| Some((*order_id, self.orders.get(order_id)?)))
    }
}

#[cfg(test)]
mod tests;
