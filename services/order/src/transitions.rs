//! Every state that an order can reach, and what it does there with every event, command and deadline.

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use contracts::{CancelReason, Envelope, Event, EventType, samples::samples};
use messaging::transitions::{INVALID, NOTHING, TransitionTable, consumed};

use crate::{
    config::DeadlineConfig,
    domain::{Moment, Order, Transition, decide_cancel, decide_timeout, react},
    state::{Payment, Status, Stock},
};

const NOTES: &str = "
Every state that can be reached from `order.placed`, by `services/order/src/domain.rs`. A cell names the participants
that advance, what is published, and what that makes of the order. The event consumed is recorded in the order's event
log in every case but these:

- **repeat**: it was consumed before, with the same aggregate version. Any event can be a repeat; where it can also be
  new, only that is shown;
- **invalid**: so is any event about an order that was never placed here. All lines of an order are reserved or none;
  money is held or refused, then captured or not; what was captured is refunded, what was not is voided; nothing is
  released, captured, voided or refunded before the order said so.

A cancelled order records late answers in whatever order they come (*noted* when the participants are further already).
It is `settled` once both participants have compensated.

An event that is consumed at the deadline or later is recorded, and cancels the order as *deadline passes* does.
An outage of our own postpones the deadline of a pending order, and changes nothing else.
";

pub fn transitions() -> String {
    let inputs = inputs();
    let states = reachable(&inputs).into_iter().map(|((status, stock, payment), orders)| {
        (vec![status.to_string(), stock.to_string(), payment.to_string()], orders)
    });
    let states = states.collect();
    let heads = &["status", "stock", "payment"];
    TransitionTable { title: "What an order does", notes: NOTES, heads, states, inputs }
        .print(|orders, input| cell(orders, input))
}

enum Input {
    Event(Box<Envelope>),
    Cancel,
    Deadline,
}

impl Input {
    /// What it makes of an order, or why nothing.
    fn transition(&self, order: &Order) -> Result<Transition, &'static str> {
        let transition = match self {
            Self::Event(it) if order.consumed.contains(&(it.event.event_type(), it.aggregate_version)) => {
                return Err("repeat");
            }
            Self::Event(it) => {
                let moment = Moment::without_outage(order.placed_at);
                react(order, &it.event, it.aggregate_version, &moment).map_err(|_| INVALID)?
            }
            Self::Cancel => decide_cancel(order).map_err(|_| "refused")?,
            Self::Deadline => decide_timeout(order, &Moment::without_outage(order.deadlines.capture)),
        };
        if transition.next.version == order.version { Err(NOTHING) } else { Ok(transition) }
    }
}

fn inputs() -> Vec<(String, Input)> {
    let events = consumed(system::Service::Order.subscriptions()).into_iter();
    let events = events.map(|(name, sample)| (name, Input::Event(Box::new(sample))));
    let others = [("`cancel`", Input::Cancel), ("deadline passes", Input::Deadline)];
    events.chain(others.map(|(name, input)| (name.to_owned(), input))).collect()
}

type Participants = (Status, Stock, Payment);
type Reached = (Participants, Option<CancelReason>, BTreeSet<(EventType, i64)>);

/// Every order that can be, by the states that the table shows.
fn reachable(inputs: &[(String, Input)]) -> BTreeMap<Participants, Vec<Order>> {
    let mut seen: BTreeSet<Reached> = BTreeSet::new();
    let mut by_state: BTreeMap<Participants, Vec<Order>> = BTreeMap::new();
    let mut open: Vec<Order> = placed().into_iter().collect();
    while let Some(order) = open.pop() {
        let state = (order.status, order.stock, order.payment);
        if !seen.insert((state, order.reason, order.consumed.clone())) {
            continue;
        }
        open.extend(inputs.iter().filter_map(|(_, input)| Some(input.transition(&order).ok()?.next)));
        by_state.entry(state).or_default().push(order);
    }
    by_state
}

fn placed() -> Option<Order> {
    samples().into_iter().find_map(|sample| match sample.event {
        Event::OrderPlaced(placed) => {
            let placed_at = DateTime::UNIX_EPOCH;
            Some(Order::placed(placed, placed_at, DeadlineConfig::default().at(placed_at)))
        }
        _ => None,
    })
}

/// What the orders of one row, which differ only in what they have consumed, do with an input.
fn cell(orders: &[Order], input: &Input) -> String {
    let mut outcomes: BTreeSet<String> = orders.iter().map(|order| outcome(order, input)).collect();
    if outcomes.len() > 1 {
        outcomes.remove("repeat");
    }
    outcomes.into_iter().collect::<Vec<_>>().join(" / ")
}

fn outcome(before: &Order, input: &Input) -> String {
    let Transition { next, events } = match input.transition(before) {
        Ok(transition) => transition,
        Err(nothing) => return nothing.to_owned(),
    };
    let mut parts = Vec::new();
    if next.stock != before.stock {
        parts.push(format!("stock {}", next.stock));
    }
    if next.payment != before.payment {
        parts.push(format!("payment {}", next.payment));
    }
    parts.extend(events.iter().map(|event| format!("**{}**", event.event_type())));
    if next.status != before.status {
        parts.push(match next.reason {
            Some(reason) => format!("{} ({reason})", next.status),
            None => next.status.to_string(),
        });
    }
    if next.settled() && !before.settled() {
        parts.push("settled".to_owned());
    }
    if parts.is_empty() { "noted".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_events_never_change_what_a_new_one_does() {
        let inputs = inputs();
        for (state, orders) in reachable(&inputs) {
            for (name, input) in &inputs {
                let cell = cell(&orders, input);
                assert!(!cell.contains(" / "), "{state:?} does one of {cell} at {name}");
            }
        }
    }
}
