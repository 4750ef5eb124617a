//! Stock: a level per SKU, and the movements that its ledger keeps.

use std::collections::BTreeMap;

use contracts::{OrderId, Sku, is_visible};
use strum::IntoStaticStr;

/// How much there may be of a SKU for it to be restocked, and how much it may be restocked at once.
///
/// Far below what a `bigint` holds, so that a return, which cannot be refused, never overflows it.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;
/// The most that one restock adds.
pub const MAX_RESTOCK: i64 = 1_000_000;
/// The most that one adjustment adds or takes away.
pub const MAX_ADJUSTMENT: i64 = 1_000_000;
/// The longest reason of an adjustment, in characters.
pub const MAX_REASON: usize = 200;

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
        Ok(Movement {
            sku: sku.clone(),
            kind: MovementKind::Restocked,
            order_id: None,
            quantity,
            reason: None,
        })
    }

    /// A person corrects how many pieces there are, such as after a stocktaking. What is reserved stays.
    ///
    /// # Errors
    /// When the delta is 0 or over [`MAX_ADJUSTMENT`] either way, when there would be more than [`MAX_ON_HAND`], or
    /// fewer than are reserved.
    pub fn adjust(self, sku: &Sku, delta: i64, reason: Reason) -> Result<Movement, AdjustRefused> {
        let Self { on_hand, reserved } = self;
        if delta == 0 || !(-MAX_ADJUSTMENT..=MAX_ADJUSTMENT).contains(&delta) {
            return Err(AdjustRefused::Delta);
        }
        if delta > 0 && on_hand > MAX_ON_HAND - delta {
            return Err(AdjustRefused::TooMuch { on_hand });
        }
        if self.available() + delta < 0 {
            return Err(AdjustRefused::Reserved { on_hand, reserved });
        }
        let (kind, quantity, reason) = (MovementKind::Adjusted, delta, Some(reason));
        Ok(Movement { sku: sku.clone(), kind, order_id: None, quantity, reason })
    }
}

/// Why a person corrected the stock: 1 to [`MAX_REASON`] characters, one of them visible, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    pub fn new(text: String) -> Result<Self, AdjustRefused> {
        let fits = text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control);
        if fits && is_visible(&text) { Ok(Self(text)) } else { Err(AdjustRefused::Reason) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdjustRefused {
    #[error("delta: must be from -{MAX_ADJUSTMENT} to {MAX_ADJUSTMENT}, and not 0")]
    Delta,
    #[error("reason: must be 1 to {MAX_REASON} characters, one of them visible, with no control characters")]
    Reason,
    #[error("delta: there are {on_hand} on hand, and there can be {MAX_ON_HAND} at most")]
    TooMuch { on_hand: i64 },
    #[error(
        "{reserved} of {on_hand} pieces on hand are reserved for orders: take away {} at most, or cancel orders",
        on_hand - reserved
    )]
    Reserved { on_hand: i64, reserved: i64 },
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
    /// `None` for a restock and an adjustment.
    pub order_id: Option<OrderId>,
    /// Pieces, 1 or more; of an adjustment also below zero, and never 0.
    pub quantity: i64,
    /// Of an adjustment, and of nothing else.
    pub reason: Option<Reason>,
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
    /// A person corrected how many pieces there are.
    Adjusted,
    Reserved,
    /// Reserved pieces left the shelf.
    Committed,
    /// Reserved pieces are for sale again.
    Released,
    /// Pieces that had left the shelf are back on it.
    Returned,
}

impl MovementKind {
    /// Whether `on_hand` and `reserved` grow (1), stay (0) or shrink (-1) by a quantity above zero.
    pub fn signs(self) -> (i64, i64) {
        match self {
            Self::Restocked | Self::Adjusted | Self::Returned => (1, 0),
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

    fn reason(text: &str) -> Result<Reason, AdjustRefused> {
        Reason::new(text.to_owned())
    }

    #[test]
    fn adjustment_below_the_reserved_level_or_out_of_range_is_refused() {
        let sku: Sku = "MUG".parse().expect("a SKU");
        let check = |level: (i64, i64), delta, expected: Option<AdjustRefused>| {
            let (on_hand, reserved) = level;
            let adjusted =
                Level { on_hand, reserved }.adjust(&sku, delta, reason("broken").expect("a reason"));
            assert_eq!(adjusted.err(), expected, "{level:?} {delta:+}");
        };
        check((5, 2), -3, None);
        check((5, 2), -4, Some(AdjustRefused::Reserved { on_hand: 5, reserved: 2 }));
        check((0, 0), -1, Some(AdjustRefused::Reserved { on_hand: 0, reserved: 0 }));
        check((0, 0), MAX_ADJUSTMENT, None);
        check((MAX_ADJUSTMENT, 0), -MAX_ADJUSTMENT, None);
        for delta in [0, MAX_ADJUSTMENT + 1, -MAX_ADJUSTMENT - 1, i64::MAX, i64::MIN] {
            check((5, 2), delta, Some(AdjustRefused::Delta));
        }
        check((MAX_ON_HAND, 0), 1, Some(AdjustRefused::TooMuch { on_hand: MAX_ON_HAND }));
        check((i64::MAX, 0), -1, None);
    }

    #[test]
    fn adjustment_moves_what_is_on_hand_and_nothing_reserved() {
        let (sku, level) = ("MUG".parse().expect("a SKU"), Level { on_hand: 5, reserved: 2 });
        for (delta, on_hand) in [(-3, 2), (4, 9)] {
            let movement = level.adjust(&sku, delta, reason("counted").expect("a reason")).expect("in range");
            assert_eq!(level.after(&movement), Level { on_hand, reserved: 2 });
            assert_eq!(movement.reason.as_ref().map(Reason::as_str), Some("counted"));
        }
    }

    #[test]
    fn reason_is_text_of_1_to_200_characters() {
        for text in ["x", " broken in transit ", &"ü".repeat(200)] {
            assert!(reason(text).is_ok(), "{text:?}");
        }
        for text in ["", "   ", "a\nb", "a\0b", &"ü".repeat(201)] {
            assert_eq!(reason(text), Err(AdjustRefused::Reason), "{text:?}");
        }
    }
}
