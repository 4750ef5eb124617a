//! Inventory in memory: products, stock with its ledger, and one reservation per order.

use std::collections::BTreeMap;

use contracts::{Money, OrderId, Sku};
use inventory::domain::{Level, Movement, Offer, Product, Reason, Reservation, Stock};
use inventory::reactions::{Changes, State, fold_with};
use messaging::{CausationContext, Delivery, Effects, OutgoingEvent};

use super::invalid;
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
    /// What is reserved, by order.
    pub(crate) reservations: BTreeMap<OrderId, Reservation>,
}

impl Inventory {
    /// What the service makes of an event.
    pub(super) fn consume(&mut self, system: &System, delivery: Delivery) -> Checked<Effects> {
        let order_id = delivery.envelope.event.order_id().ok_or_else(|| invalid("an event of no order"))?;
        let reservation = self.reservations.get(&order_id).cloned();
        let reservation = reservation.unwrap_or_else(|| Reservation::placeholder(order_id));
        let state = State { reservations: [(order_id, reservation)].into(), stock: self.stock.clone() };
        let outcome = fold_with(system.inventory, state, &[delivery]).map_err(|it| invalid(&it))?;
        let Changes { reservations, movements, stock } = outcome.changed;
        self.reservations.extend(reservations.into_iter().map(|it| (it.order_id, it)));
        self.stock = stock;
        self.ledger.extend(movements);
        Ok(Effects { events: outcome.events, jobs: outcome.jobs })
    }

    /// A product is for sale at a price; published only when that is new.
    pub(super) fn list(&mut self, sku: &Sku, price: Money) -> Effects {
        let offer = Offer::new("A product".to_owned(), price).expect("an offer");
        let product = match self.products.get(sku) {
            Some(product) => product.relisted(offer),
            None => Some(Product::new(sku.clone(), offer)),
        };
        self.stock.0.entry(sku.clone()).or_default();
        self.keep(product)
    }

    /// A product is no longer for sale; published only when it was.
    pub(super) fn delist(&mut self, sku: &Sku) -> Effects {
        let delisted = self.products.get(sku).and_then(Product::delisted);
        self.keep(delisted)
    }

    fn keep(&mut self, changed: Option<Product>) -> Effects {
        let Some(product) = changed else { return Effects::default() };
        let (event, aggregate_version, origin) =
            (product.event(), product.version, CausationContext::default());
        self.products.insert(product.sku.clone(), product);
        Effects::publish(vec![OutgoingEvent { event, aggregate_version, origin }])
    }

    /// More pieces arrive.
    pub(super) fn restock(&mut self, sku: &Sku, quantity: i64) -> Effects {
        let level = self.stock.0.get(sku).copied().unwrap_or_default();
        let movement = Level::restock(level, sku, quantity).expect("a restock that is in range");
        self.enter(movement)
    }

    /// The stock is corrected; refused below what is reserved.
    pub(super) fn adjust(&mut self, sku: &Sku, delta: i64) -> Option<Effects> {
        let level = self.stock.0.get(sku).copied()?;
        let reason = Reason::new("counted".to_owned()).expect("a reason");
        let movement = level.adjust(sku, delta, reason).ok()?;
        Some(self.enter(movement))
    }

    fn enter(&mut self, movement: Movement) -> Effects {
        self.stock.apply(std::slice::from_ref(&movement));
        self.ledger.push(movement);
        Effects::default()
    }
}
