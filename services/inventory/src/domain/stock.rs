//! Stock: a level per SKU, and the movements that its ledger keeps.

use std::collections::BTreeMap;

use contracts::{OrderId, Sku};
use strum::IntoStaticStr;

/// How much there may be of a SKU for it to be restocked, and how much it may be restocked at once.
///
/// Far below what a `bigint` holds, so that a return, which cannot be refused, never overflows it.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;
/// The most that one restock adds.
pub const MAX_RESTOCK: i64 = 1_000_000;

/// How much there is of one SKU: `0 <= reserved <= on_hand`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Level {
    /// Pieces on the shelf.
    pub on_hand: i64,
    /// Of these, the pieces reserved for orders.
    pub reserved: i64,
}

impl Level {
    /// Pieces that can be reserved for another order.
    pub fn available(self) -> i64 {
        self.on_hand - self.reserved
    }

    #[must_use]
    pub fn after(self, movement: &Movement) -> Self {
        Self {
            on_hand: self.on_hand + movement.on_hand_delta(),
            reserved: self.reserved + movement.reserved_delta(),
        }
    }

    /// More pieces of the SKU arrive.
    ///
    /// # Errors
    /// When the quantity is not 1 to [`MAX_RESTOCK`], or there would be more than [`MAX_ON_HAND`].
    pub fn restock(self, sku: &Sku, quantity: i64) -> Result<Movement, RestockRefused> {
        if !(1..=MAX_RESTOCK).contains(&quantity) {
            return Err(RestockRefused::Quantity);
        }
        if self.on_hand > MAX_ON_HAND - quantity {
            return Err(RestockRefused::TooMuch { on_hand: self.on_hand });
        }
        Ok(Movement { sku: sku.clone(), kind: MovementKind::Restocked, order_id: None, quantity })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestockRefused {
    #[error("quantity: must be from 1 to {MAX_RESTOCK}")]
    Quantity,
    #[error("quantity: there are {on_hand} on hand, and there can be {MAX_ON_HAND} at most")]
    TooMuch { on_hand: i64 },
}

/// The levels of some SKUs. A SKU that is not there has no product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock(pub BTreeMap<Sku, Level>);

impl Stock {
    /// Pieces of the SKU that can be reserved: 0 when there is no such product.
    pub fn available(&self, sku: &Sku) -> i64 {
        self.0.get(sku).map_or(0, |level| level.available())
    }

    pub fn apply(&mut self, movements: &[Movement]) {
        for movement in movements {
            let level = self.0.entry(movement.sku.clone()).or_default();
            *level = level.after(movement);
        }
    }
}

/// One row of the ledger, whose sums are the levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    pub sku: Sku,
    pub kind: MovementKind,
    /// `None` for a restock.
    pub order_id: Option<OrderId>,
    /// Pieces, 1 or more.
    pub quantity: i64,
}

impl Movement {
    pub fn on_hand_delta(&self) -> i64 {
        self.kind.signs().0 * self.quantity
    }

    pub fn reserved_delta(&self) -> i64 {
        self.kind.signs().1 * self.quantity
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum MovementKind {
    Restocked,
    Reserved,
    /// Reserved pieces left the shelf.
    Committed,
    /// Reserved pieces are for sale again.
    Released,
    /// Pieces that had left the shelf are back on it.
    Returned,
}

impl MovementKind {
    /// Whether `on_hand` and `reserved` grow (1), stay (0) or shrink (-1).
    pub fn signs(self) -> (i64, i64) {
        match self {
            Self::Restocked | Self::Returned => (1, 0),
            Self::Reserved => (0, 1),
            Self::Committed => (-1, -1),
            Self::Released => (0, -1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restock_below_one_or_above_the_limit_is_refused() {
        let sku: Sku = "MUG".parse().expect("a SKU");
        let check = |on_hand, quantity, expected: Option<RestockRefused>| {
            assert_eq!(
                Level { on_hand, reserved: 0 }.restock(&sku, quantity).err(),
                expected,
                "{on_hand} + {quantity}"
            );
        };
        check(0, 1, None);
        check(0, MAX_RESTOCK, None);
        check(0, 0, Some(RestockRefused::Quantity));
        check(0, -1, Some(RestockRefused::Quantity));
        check(0, MAX_RESTOCK + 1, Some(RestockRefused::Quantity));
        check(MAX_ON_HAND - 1, 1, None);
        check(MAX_ON_HAND, 1, Some(RestockRefused::TooMuch { on_hand: MAX_ON_HAND }));
        check(i64::MAX, 1, Some(RestockRefused::TooMuch { on_hand: i64::MAX }));
    }
}
