//! The rules of inventory, pure: time, ids and rows are arguments.
//!
//! An event is a fact: [`react`] says what it changes, and never refuses it. A command from outside may be
//! refused: see [`product`] and [`Level::restock`].

pub mod product;
pub mod stock;

use std::{collections::BTreeSet, fmt, str::FromStr};

use contracts::{
    Event, EventType, OrderId, OrderPlaced, Shortage, Sku, StockCommitted, StockLine, StockRejected,
    StockReleased, StockReserved,
};

pub use product::{Offer, Product};
pub use stock::{Level, Movement, MovementKind, Stock};

/// What inventory has for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nothing yet: the order was not heard of.
    Nothing,
    /// Every line is set aside.
    Reserved,
    /// Some line was short, so none was set aside.
    Rejected,
    /// Every line left the shelf.
    Committed,
    /// Nothing any more, and never again: also the tombstone of an order cancelled before it was heard of.
    Released,
}

impl Status {
    /// Every one, in the order of an order's life.
    pub const ALL: &[Self] =
        &[Self::Nothing, Self::Reserved, Self::Rejected, Self::Committed, Self::Released];

    /// The word for it in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Reserved => "reserved",
            Self::Rejected => "rejected",
            Self::Committed => "committed",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the status of a reservation")]
pub struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        let found = Self::ALL.iter().find(|status| status.as_str() == word);
        found.copied().ok_or_else(|| UnknownStatus(word.to_owned()))
    }
}

/// The stock of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reservation {
    /// The order.
    pub order_id: OrderId,
    /// What inventory has for it.
    pub status: Status,
    /// What is, or was, set aside; empty when nothing ever was.
    pub lines: Vec<StockLine>,
    /// How often it changed: the aggregate version of what the last change announced.
    pub version: i64,
}

impl Reservation {
    /// An order that was not heard of.
    #[must_use]
    pub fn placeholder(order_id: OrderId) -> Self {
        Self { order_id, status: Status::Nothing, lines: Vec::new(), version: 0 }
    }

    /// Becomes what the reaction says.
    pub fn apply(&mut self, reaction: &Reaction) {
        self.status = reaction.becomes;
        self.lines.clone_from(&reaction.lines);
        self.version += 1;
    }
}

/// What a fact changes: every change of a reservation announces one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// What inventory has for the order from now on.
    pub becomes: Status,
    /// The lines of the reservation from now on.
    pub lines: Vec<StockLine>,
    /// How the stock moves.
    pub movements: Vec<Movement>,
    /// What is said about it.
    pub announces: Event,
}

/// A fact that cannot be true, given what inventory knows: some service is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransition {
    /// The cell of the table that has no meaning.
    #[error("order {order_id}: {event} cannot happen while its reservation is at \"{status}\"")]
    Cell {
        /// The order.
        order_id: OrderId,
        /// What inventory has for it.
        status: Status,
        /// What was heard.
        event: EventType,
    },
    /// The lines break the contract of `order.placed`.
    #[error("order {order_id}: order.placed must have lines, and no SKU twice")]
    Lines {
        /// The order.
        order_id: OrderId,
    },
}

/// What a fact changes; nothing when it is a repeat or comes too late to matter.
///
/// `stock` must hold the levels of the [`concerned`] SKUs that exist.
///
/// # Errors
/// When the fact cannot be true.
pub fn react(
    reservation: &Reservation,
    stock: &Stock,
    event: &Event,
) -> Result<Option<Reaction>, InvalidTransition> {
    use Event::{OrderCancelled, OrderConfirmed, OrderPlaced};
    use Status::{Committed, Nothing, Rejected, Released, Reserved};

    let order_id = reservation.order_id;
    let lines = reservation.lines.clone();
    match (reservation.status, event) {
        (Nothing, OrderPlaced(order)) => set_aside(order, stock).map(Some),
        // At nothing there are no lines: the release is a tombstone for the order that was overtaken.
        (Nothing | Reserved, OrderCancelled(_)) => {
            Ok(moved(reservation, Released, MovementKind::Released, StockReleased { order_id, lines }))
        }
        (Reserved, OrderConfirmed(_)) => {
            Ok(moved(reservation, Committed, MovementKind::Committed, StockCommitted { order_id, lines }))
        }
        (Committed, OrderCancelled(_)) => {
            Ok(moved(reservation, Released, MovementKind::Returned, StockReleased { order_id, lines }))
        }
        (Reserved | Rejected | Committed | Released, OrderPlaced(_))
        | (Committed | Released, OrderConfirmed(_))
        | (Rejected | Released, OrderCancelled(_)) => Ok(None),
        (status, event) => Err(InvalidTransition::Cell { order_id, status, event: event.event_type() }),
    }
}

/// The SKUs whose levels [`react`] may need for these reservations and events.
#[must_use]
pub fn concerned<'a>(
    reservations: impl IntoIterator<Item = &'a Reservation>,
    events: impl IntoIterator<Item = &'a Event>,
) -> BTreeSet<Sku> {
    let held = reservations.into_iter().flat_map(|reservation| &reservation.lines).map(|line| &line.sku);
    let wanted = events.into_iter().flat_map(|event| match event {
        Event::OrderPlaced(order) => order.lines.as_slice(),
        _ => &[],
    });
    held.chain(wanted.map(|line| &line.sku)).cloned().collect()
}

/// Sets every line aside, or none.
fn set_aside(order: &OrderPlaced, stock: &Stock) -> Result<Reaction, InvalidTransition> {
    let order_id = order.order_id;
    let skus: BTreeSet<_> = order.lines.iter().map(|line| &line.sku).collect();
    if skus.is_empty() || skus.len() < order.lines.len() {
        return Err(InvalidTransition::Lines { order_id });
    }
    let shortages: Vec<Shortage> = order
        .lines
        .iter()
        .map(|line| (line, stock.available(&line.sku)))
        .filter(|(line, available)| i64::from(line.quantity) > *available)
        .map(|(line, available)| Shortage { sku: line.sku.clone(), requested: line.quantity, available })
        .collect();
    if !shortages.is_empty() {
        return Ok(Reaction {
            becomes: Status::Rejected,
            lines: Vec::new(),
            movements: Vec::new(),
            announces: StockRejected { order_id, shortages }.into(),
        });
    }
    let lines: Vec<StockLine> =
        order.lines.iter().map(|line| StockLine { sku: line.sku.clone(), quantity: line.quantity }).collect();
    Ok(Reaction {
        becomes: Status::Reserved,
        movements: movements(MovementKind::Reserved, order_id, &lines),
        announces: StockReserved { order_id, lines: lines.clone() }.into(),
        lines,
    })
}

/// Every line of the reservation moves the same way.
fn moved(
    reservation: &Reservation,
    becomes: Status,
    kind: MovementKind,
    announces: impl Into<Event>,
) -> Option<Reaction> {
    Some(Reaction {
        becomes,
        lines: reservation.lines.clone(),
        movements: movements(kind, reservation.order_id, &reservation.lines),
        announces: announces.into(),
    })
}

fn movements(kind: MovementKind, order_id: OrderId, lines: &[StockLine]) -> Vec<Movement> {
    let movement = |line: &StockLine| Movement {
        sku: line.sku.clone(),
        kind,
        order_id: Some(order_id),
        quantity: line.quantity.into(),
    };
    lines.iter().map(movement).collect()
}

#[cfg(test)]
mod tests;
