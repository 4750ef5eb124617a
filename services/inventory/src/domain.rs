//! The rules of inventory. Pure.
//!
//! An event cannot be refused: [`react`] says what it changes. A command may be: see [`product`],
//! [`Level::restock`] and [`Level::adjust`].

pub mod product;
pub mod stock;

use std::{collections::BTreeSet, fmt};

use contracts::{
    Event, InvalidTransition, OrderId, OrderLine, OrderPlaced, Shortage, Sku, StockCommitted, StockLine,
    StockRejected, StockReleased, StockReserved,
};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

pub use product::{Offer, Product};
pub use stock::{AdjustRefused, Level, Movement, MovementKind, Reason, Stock};

/// What inventory has for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Status {
    /// Nothing is known of the order yet.
    Placeholder,
    Reserved,
    /// A line was short, so none was reserved.
    Rejected,
    /// Every line left the shelf.
    Committed,
    /// Nothing is reserved, for good: also the tombstone of an order whose cancel came first.
    Released,
}

/// The stock of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reservation {
    pub order_id: OrderId,
    pub status: Status,
    /// What is, or was, reserved; empty when nothing ever was.
    pub lines: Vec<StockLine>,
    /// The number of changes; also the aggregate version of the event that each published.
    pub version: i64,
}

impl Reservation {
    /// Of an order that nothing is known of yet.
    pub fn placeholder(order_id: OrderId) -> Self {
        Self { order_id, status: Status::Placeholder, lines: Vec::new(), version: 0 }
    }
}

/// What a reservation becomes, and what follows from that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The reservation afterwards; the same version means that nothing changed.
    pub next: Reservation,
    /// To publish, with the version of the reservation.
    pub events: Vec<Event>,
    pub movements: Vec<Movement>,
}

/// What a reservation becomes by an event. Nothing changes by a repeat, or by an event that comes too late to matter.
///
/// `stock` must hold the levels of the [`concerned`] SKUs that exist.
///
/// # Errors
/// [`InvalidTransition`] for an event that nothing before it can have led to.
pub fn react(
    reservation: &Reservation,
    stock: &Stock,
    event: &Event,
) -> Result<Transition, InvalidTransition> {
    use Event::{OrderCancelled, OrderConfirmed, OrderPlaced};
    use Status::{Committed, Placeholder, Rejected, Released, Reserved};

    let (order_id, lines) = (reservation.order_id, reservation.lines.clone());
    let release = || StockReleased { order_id, lines: lines.clone() };
    Ok(match (reservation.status, event) {
        (Placeholder, OrderPlaced(order)) => return reserve(reservation, order, stock),
        // A placeholder has no lines: the release is a tombstone for the order that the cancel overtook.
        (Placeholder | Reserved, OrderCancelled(_)) => {
            moved(reservation, Released, MovementKind::Released, release())
        }
        (Reserved, OrderConfirmed(_)) => {
            moved(reservation, Committed, MovementKind::Committed, StockCommitted { order_id, lines })
        }
        (Committed, OrderCancelled(_)) => moved(reservation, Released, MovementKind::Returned, release()),
        (Reserved | Rejected | Committed | Released, OrderPlaced(_))
        | (Committed | Released, OrderConfirmed(_))
        | (Rejected | Released, OrderCancelled(_)) => {
            Transition { next: reservation.clone(), events: Vec::new(), movements: Vec::new() }
        }
        _ => return Err(invalid(reservation, event.event_type())),
    })
}

/// The SKUs whose levels [`react`] may need for these reservations and events.
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

/// Reserves every line, or none.
fn reserve(
    reservation: &Reservation,
    order: &OrderPlaced,
    stock: &Stock,
) -> Result<Transition, InvalidTransition> {
    let order_id = order.order_id;
    let skus: BTreeSet<_> = order.lines.iter().map(|line| &line.sku).collect();
    if skus.is_empty() || skus.len() < order.lines.len() {
        return Err(invalid(reservation, "order.placed with no lines, or with a SKU twice"));
    }
    let shortages: Vec<Shortage> = order
        .lines
        .iter()
        .map(|line| (line, stock.available(&line.sku)))
        .filter(|(line, available)| i64::from(line.quantity) > *available)
        .map(|(line, available)| Shortage { sku: line.sku.clone(), requested: line.quantity, available })
        .collect();
    if !shortages.is_empty() {
        let rejected = StockRejected { order_id, shortages };
        return Ok(moved(reservation, Status::Rejected, MovementKind::Reserved, rejected));
    }
    let line = |line: &OrderLine| StockLine { sku: line.sku.clone(), quantity: line.quantity };
    let lines: Vec<StockLine> = order.lines.iter().map(line).collect();
    let with_lines = Reservation { lines: lines.clone(), ..reservation.clone() };
    let reserved = StockReserved { order_id, lines };
    Ok(moved(&with_lines, Status::Reserved, MovementKind::Reserved, reserved))
}

/// Every line of the reservation moves the same way.
fn moved(
    reservation: &Reservation,
    status: Status,
    kind: MovementKind,
    published: impl Into<Event>,
) -> Transition {
    let version = reservation.version + 1;
    Transition {
        next: Reservation { status, version, ..reservation.clone() },
        events: vec![published.into()],
        movements: movements(kind, reservation.order_id, &reservation.lines),
    }
}

fn invalid(reservation: &Reservation, input: impl fmt::Display) -> InvalidTransition {
    InvalidTransition::new("reservation of order", reservation.order_id, reservation.status, input)
}

fn movements(kind: MovementKind, order_id: OrderId, lines: &[StockLine]) -> Vec<Movement> {
    let movement = |line: &StockLine| Movement {
        sku: line.sku.clone(),
        kind,
        order_id: Some(order_id),
        quantity: line.quantity.into(),
        reason: None,
    };
    lines.iter().map(movement).collect()
}

#[cfg(test)]
mod tests;
