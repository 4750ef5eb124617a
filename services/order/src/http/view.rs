//! What a client sees of an order, and of its log.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{CancelReason, Customer, EventType, Money, OrderId, OrderLine};
use serde::Serialize;

use crate::{
    domain::{Awaited, Order},
    event_log::RecordedEvent,
};

#[derive(Debug, Serialize)]
pub(super) struct OrderView {
    id: OrderId,
    status: &'static str,
    reason: Option<CancelReason>,
    settled: bool,
    lines: Vec<OrderLine>,
    total: Money,
    customer: Customer,
    placed_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    version: i64,
}

impl From<&Order> for OrderView {
    fn from(order: &Order) -> Self {
        Self {
            id: order.id,
            status: order.status.into_str(),
            reason: order.reason,
            settled: order.settled(),
            lines: order.lines.clone(),
            total: order.total.clone(),
            customer: order.customer.clone(),
            placed_at: order.placed_at,
            deadline_at: order.deadline_at,
            version: order.version,
        }
    }
}

/// The facts of an order in the order of their times, and what it waits for.
#[derive(Debug, Serialize)]
pub(super) struct TimelineView {
    order_id: OrderId,
    status: &'static str,
    settled: bool,
    facts: Vec<FactView>,
    awaiting: Vec<AwaitedView>,
}

#[derive(Debug, Serialize)]
struct FactView {
    at: DateTime<Utc>,
    service: &'static str,
    event: &'static str,
    direction: &'static str,
    delay_ms: Option<f64>,
    recorded_at: DateTime<Utc>,
    version: i64,
}

#[derive(Debug, Serialize)]
struct AwaitedView {
    events: Vec<&'static str>,
    from: &'static str,
    until: Option<DateTime<Utc>>,
}

impl TimelineView {
    pub(super) fn new(order: &Order, mut log: Vec<RecordedEvent>) -> Self {
        log.sort_by_key(|entry| (entry.occurred_at, entry.version));
        let before = std::iter::once(None).chain(log.iter().map(|entry| Some(entry.occurred_at)));
        Self {
            order_id: order.id,
            status: order.status.into_str(),
            settled: order.settled(),
            facts: before.zip(&log).map(|(before, entry)| FactView::new(before, entry)).collect(),
            awaiting: order.awaits().into_iter().map(AwaitedView::from).collect(),
        }
    }
}

impl FactView {
    fn new(before: Option<DateTime<Utc>>, entry: &RecordedEvent) -> Self {
        let event_type = entry.event.event_type();
        Self {
            at: entry.occurred_at,
            service: event_type.owner().as_str(),
            event: event_type.name(),
            direction: entry.direction(),
            delay_ms: before.map(|before| milliseconds(entry.occurred_at - before)),
            recorded_at: entry.recorded_at,
            version: entry.version,
        }
    }
}

impl From<Awaited> for AwaitedView {
    fn from(awaited: Awaited) -> Self {
        Self {
            events: awaited.any_of.iter().copied().map(EventType::name).collect(),
            from: awaited.from.as_str(),
            until: awaited.until,
        }
    }
}

fn milliseconds(delay: TimeDelta) -> f64 {
    delay.num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_keep_their_microseconds() {
        assert_eq!(milliseconds(TimeDelta::microseconds(3_929)), 3.929);
    }
}
