//! Inventory in memory: products, stock with its ledger, and one reservation per order.

use std::collections::BTreeMap;

use contracts::{Event, Money, OrderId, Sku};
use inventory::domain::{Level, Movement, Offer, Product, Reservation, Stock};

use super::{Effects, invalid_transition};
use crate::invariants::Checked;
use crate::system::System;

/// The tables of inventory.
#[derive(Clone, Default)]
pub(crate) struct Inventory {
    /// What is listed.
    pub(crate) products: BTreeMap<Sku, Product>,
    /// How much there is.
    pub(crate) stock: Stock,
    /// Every movement of stock.
    pub(crate) ledger: Vec<Movement>,
    /// What is set aside, by order.
    pub(crate) reservations: BTreeMap<OrderId, Reservation>,
}

impl Inventory {
    /// What the service makes of an event.
    pub(super) fn hear(&mut self, system: &System, event: &Event) -> Checked<Effects> {
        let order_id = event.order_id().ok_or_else(|| invalid_transition("an event of no order"))?;
        let reservation =
            self.reservations.entry(order_id).or_insert_with(|| Reservation::placeholder(order_id));
        let reaction =
            (system.inventory)(reservation, &self.stock, event).map_err(|it| invalid_transition(&it))?;
        let Some(reaction) = reaction else { return Ok(Effects::default()) };
        reservation.apply(&reaction);
        self.stock.apply(&reaction.movements);
        self.ledger.extend(reaction.movements);
        Ok(Effects { outgoing: vec![(reaction.announces, reservation.version)], jobs: Vec::new() })
    }

    /// A product is for sale at a price; said only when that is new.
    pub(super) fn list(&mut self, sku: &Sku, price: Money) -> Effects {
        let offer = Offer::new("A product".to_owned(), price).expect("an offer");
        let product = match self.products.get(sku) {
            Some(product) => product.relisted(offer),
            None => Some(Product::new(sku.clone(), offer)),
        };
        let Some(product) = product else { return Effects::default() };
        let outgoing = vec![(product.listed(), product.version)];
        self.stock.0.entry(sku.clone()).or_default();
        self.products.insert(sku.clone(), product);
        Effects { outgoing, jobs: Vec::new() }
    }

    /// More pieces arrive.
    pub(super) fn restock(&mut self, sku: &Sku, quantity: i64) -> Effects {
        let level = self.stock.0.get(sku).copied().unwrap_or_default();
        let movement = Level::restock(level, sku, quantity).expect("a restock that is in range");
        self.stock.apply(std::slice::from_ref(&movement));
        self.ledger.push(movement);
        Effects::default()
    }
}
