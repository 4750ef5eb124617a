//! Every state of a reservation against every event that inventory consumes.

use contracts::{Envelope, Event, OrderId, OrderPlaced, samples::samples};
use messaging::transitions::{INVALID, NOTHING, TransitionTable, consumed};
use strum::VariantArray;
use uuid::Uuid;

use crate::domain::{Level, Reservation, Status, Stock, react};

const NOTES: &str = "
By `react` in `services/inventory/src/domain.rs`. The postings are what moves per piece of a line.
";

pub fn transitions() -> String {
    let states =
        Status::VARIANTS.iter().map(|status| (vec![status.to_string()], reservation(*status))).collect();
    let inputs =
        consumed(system::Service::Inventory.subscriptions()).into_iter().flat_map(variants).collect();
    let heads = &["reservation is"];
    TransitionTable { title: "What a reservation does", notes: NOTES, heads, states, inputs }.print(cell)
}

fn cell(before: &Reservation, (event, stock): &(Event, Stock)) -> String {
    let Ok(transition) = react(before, stock, event) else { return INVALID.to_owned() };
    if transition.next.version == before.version {
        return NOTHING.to_owned();
    }
    let mut parts = vec![transition.next.status.to_string()];
    parts.extend(transition.events.iter().map(|event| match event {
        Event::StockReleased(data) if data.lines.is_empty() => "**stock.released** (no lines)".to_owned(),
        event => format!("**{}**", event.event_type()),
    }));
    if let Some(movement) = transition.movements.first() {
        let (on_hand, reserved) = movement.kind.signs();
        let moved = [("on_hand", on_hand), ("reserved", reserved)].into_iter().filter(|(_, sign)| *sign != 0);
        parts.extend(moved.map(|(level, sign)| format!("`{level} {sign:+}`")));
    }
    parts.join(", ")
}

/// `order.placed` comes once with enough stock and once with too little.
fn variants((name, sample): (String, Envelope)) -> Vec<(String, (Event, Stock))> {
    let event = sample.event;
    match &event {
        Event::OrderPlaced(order) => {
            let (enough, short) = (stock(order, 1000), stock(order, 0));
            vec![
                (format!("{name}, enough of every line"), (event.clone(), enough)),
                (format!("{name}, too little of a line"), (event, short)),
            ]
        }
        _ => vec![(name, (event, Stock::default()))],
    }
}

fn stock(order: &OrderPlaced, on_hand: i64) -> Stock {
    Stock(order.lines.iter().map(|line| (line.sku.clone(), Level { on_hand, reserved: 0 })).collect())
}

/// A reservation of that status, with the lines that it would have.
fn reservation(status: Status) -> Reservation {
    let reserved = samples().into_iter().find_map(|sample| match sample.event {
        Event::StockReserved(data) => Some(data.lines),
        _ => None,
    });
    let lines = match status {
        Status::Placeholder | Status::Rejected => Vec::new(),
        Status::Reserved | Status::Committed | Status::Released => reserved.unwrap_or_default(),
    };
    Reservation { order_id: OrderId(Uuid::nil()), status, lines, version: 1 }
}
