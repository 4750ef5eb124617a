//! The table of `react`: every status and everything that can be heard, ignored and impossible cells included.

use std::fmt::Write;

use contracts::{Event, OrderId, OrderPlaced, samples::samples};

use crate::domain::{InvalidTransition, Level, Reaction, Reservation, Status, Stock, react};

const HEAD: &str = "\
# What inventory does when it hears an event

Written by `sagactl generate` from `react` in `src/domain.rs`. `on_hand` and `reserved` are what moves per piece of a line.

| inventory has for the order | hears | becomes | on_hand | reserved | announces |
|---|---|---|---|---|---|
";

/// The table as a Markdown document.
#[must_use]
pub fn transitions() -> String {
    let mut document = HEAD.to_owned();
    for status in Status::ALL {
        for (input, event, stock) in inputs() {
            let Some(order_id) = event.order_id() else {
                continue;
            };
            let reaction = react(&reservation(*status, order_id), &stock, &event);
            // Writing to a String cannot fail.
            let _ = writeln!(document, "| {status} | {input} | {} |", cells(*status, reaction));
        }
    }
    document
}

fn cells(status: Status, reaction: Result<Option<Reaction>, InvalidTransition>) -> String {
    match reaction {
        Ok(Some(reaction)) => {
            let (on_hand, reserved) =
                reaction.movements.first().map_or((0, 0), |movement| movement.kind.signs());
            let announces = match &reaction.announces {
                Event::StockReleased(data) if data.lines.is_empty() => {
                    "`stock.released`, lines []".to_owned()
                }
                event => format!("`{}`", event.event_type()),
            };
            format!("{} | {} | {} | {announces}", reaction.becomes, delta(on_hand), delta(reserved))
        }
        Ok(None) => format!("{status} | - | - | -"),
        Err(_) => "InvalidTransition | | |".to_owned(),
    }
}

fn delta(sign: i64) -> String {
    if sign == 0 { "-".to_owned() } else { format!("{sign:+}") }
}

/// Everything that inventory hears; `order.placed` once with enough stock and once with too little.
fn inputs() -> Vec<(String, Event, Stock)> {
    let heard = samples().into_iter().map(|sample| sample.event);
    heard
        .filter(|event| system::Service::Inventory.subscriptions().contains(&event.event_type()))
        .flat_map(variants)
        .collect()
}

fn variants(event: Event) -> Vec<(String, Event, Stock)> {
    let name = format!("`{}`", event.event_type());
    match &event {
        Event::OrderPlaced(order) => {
            let (enough, short) = (stock(order, 1000), stock(order, 0));
            vec![
                (format!("{name}, enough of every line"), event.clone(), enough),
                (format!("{name}, too little of a line"), event, short),
            ]
        }
        _ => vec![(name, event, Stock::default())],
    }
}

fn stock(order: &OrderPlaced, on_hand: i64) -> Stock {
    Stock(order.lines.iter().map(|line| (line.sku.clone(), Level { on_hand, reserved: 0 })).collect())
}

/// A reservation of that status, with the lines that it would have.
fn reservation(status: Status, order_id: OrderId) -> Reservation {
    let set_aside = samples().into_iter().find_map(|sample| match sample.event {
        Event::StockReserved(data) => Some(data.lines),
        _ => None,
    });
    let lines = match status {
        Status::Nothing | Status::Rejected => Vec::new(),
        Status::Reserved | Status::Committed | Status::Released => set_aside.unwrap_or_default(),
    };
    Reservation { order_id, status, lines, version: 1 }
}

#[cfg(test)]
mod tests {
    use super::transitions;

    #[test]
    fn the_matrix_has_not_drifted() {
        assert_eq!(
            include_str!("../transitions.md"),
            transitions(),
            "run `sagactl generate`, and review what changed"
        );
    }
}
