//! What a client sees of an order, and of its log.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{CancelReason, Customer, EventType, Money, OrderId, OrderLine};
use serde::Serialize;
use serde_json::{Value, json};

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
    /// When it is cancelled if it is still pending, as far as is known: an outage of our own postpones it.
    deadline_at: DateTime<Utc>,
    /// When it is cancelled if it is still confirmed.
    capture_deadline_at: DateTime<Utc>,
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
            deadline_at: order.deadlines.decision,
            capture_deadline_at: order.deadlines.capture,
            version: order.version,
        }
    }
}

/// The facts of an order in the order of their times, and what it waits for.
pub(super) fn timeline(order: &Order, mut log: Vec<RecordedEvent>) -> Value {
    log.sort_by_key(|entry| (entry.occurred_at, entry.version));
    let before = std::iter::once(None).chain(log.iter().map(|entry| Some(entry.occurred_at)));
    let facts = before.zip(&log).map(|(before, entry)| {
        json!({
            "at": entry.occurred_at,
            "service": entry.event.event_type().owner().as_str(),
            "event": entry.event.event_type().name(),
            "direction": entry.direction(),
            "delay_ms": before.map(|before| milliseconds(entry.occurred_at - before)),
            "recorded_at": entry.recorded_at,
            "version": entry.version,
        })
    });
    let awaiting = order.awaits().into_iter().map(|Awaited { from, any_of, until }| {
        let events: Vec<_> = any_of.iter().copied().map(EventType::name).collect();
        json!({ "events": events, "from": from.as_str(), "until": until })
    });
    json!({
        "order_id": order.id,
        "status": order.status.into_str(),
        "settled": order.settled(),
        "facts": facts.collect::<Vec<_>>(),
        "awaiting": awaiting.collect::<Vec<_>>(),
    })
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
