//! The order service in memory: orders, the log that each is folded from, and the price list.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{Envelope, Event, OrderId, Sku};
use order::domain::{Order, PlaceOrder, Prices, apply, decide_cancel, decide_place};
use order::state::Status;
use system::Service;

use super::{Effects, invalid_transition};
use crate::invariants::Checked;
use crate::plan::Act;
use crate::system::System;

/// How long an order waits for stock and money.
const DEADLINE: TimeDelta = TimeDelta::seconds(30);

/// The tables of the order service.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    /// The orders, each a projection of its log.
    pub(crate) rows: BTreeMap<OrderId, Order>,
    /// Every fact about an order that was announced or heard.
    pub(crate) logs: BTreeMap<OrderId, Vec<Event>>,
    /// What is for sale.
    pub(crate) prices: Prices,
    listed: HashMap<Sku, i64>,
}

impl Orders {
    /// An answer to an order, or a price.
    pub(super) fn hear(&mut self, system: &System, message: &Rc<Envelope>) -> Checked<Effects> {
        if let Event::ProductListed(product) = &message.event {
            let known = self.listed.entry(product.sku.clone()).or_default();
            if message.aggregate_version > *known {
                *known = message.aggregate_version;
                self.prices.insert(product.sku.clone(), product.price.clone());
            }
            return Ok(Effects::default());
        }
        let order = message.event.order_id().and_then(|order_id| self.rows.get(&order_id));
        let order = order.ok_or_else(|| invalid_transition("an answer to no order"))?;
        let facts = (system.order)(order, &message.event).map_err(|it| invalid_transition(&it))?;
        Ok(self.record(order.id, facts))
    }

    /// A customer places an order; refused, it leaves nothing.
    pub(super) fn place(
        &mut self,
        order_id: OrderId,
        command: PlaceOrder,
        now: DateTime<Utc>,
    ) -> Option<Effects> {
        let placed = decide_place(order_id, command, &self.prices).ok()?;
        let order = Order::placed(placed.clone(), now, now + DEADLINE);
        let placed = Event::from(placed);
        self.logs.insert(order_id, vec![placed.clone()]);
        let outgoing = vec![(placed, order.version)];
        self.rows.insert(order_id, order);
        Some(Effects { outgoing, jobs: Vec::new() })
    }

    /// A customer cancels; refused, or not found, it changes nothing.
    pub(super) fn cancel(&mut self, order_id: OrderId) -> Option<Effects> {
        let facts = decide_cancel(self.rows.get(&order_id)?).ok()?;
        Some(self.record(order_id, facts))
    }

    /// Whether it makes sense to do again what was refused: whatever is about an order that is not there.
    pub(crate) fn may_come_true(&self, act: &Act) -> bool {
        match act {
            Act::Place(order_id, _) | Act::Cancel(order_id) => !self.rows.contains_key(order_id),
            Act::List(..) | Act::Restock(..) => false,
        }
    }

    /// Whether an order waits that should not any more.
    pub(crate) fn any_expired(&self, now: DateTime<Utc>) -> bool {
        self.rows.values().any(|order| order.status == Status::Pending && order.deadline_at <= now)
    }

    /// Whether an order waits for its answers.
    pub(crate) fn any_pending(&self) -> bool {
        self.rows.values().any(|order| order.status == Status::Pending)
    }

    /// The clock: what became of the orders whose deadline has passed.
    pub(crate) fn expire(&mut self, system: &System, now: DateTime<Utc>) -> Effects {
        let mut effects = Effects::default();
        for order_id in self.rows.keys().copied().collect::<Vec<_>>() {
            let facts = (system.timeout)(&self.rows[&order_id], now);
            effects.outgoing.extend(self.record(order_id, facts).outgoing);
        }
        effects
    }

    /// Changes an order by facts, writes them into its log, and announces those that are its own.
    fn record(&mut self, order_id: OrderId, facts: Vec<Event>) -> Effects {
        let (Some(order), Some(log)) = (self.rows.get_mut(&order_id), self.logs.get_mut(&order_id)) else {
            return Effects::default();
        };
        let mut outgoing = Vec::new();
        for fact in facts {
            apply(order, &fact);
            if fact.event_type().owner() == Service::Order {
                outgoing.push((fact.clone(), order.version));
            }
            log.push(fact);
        }
        Effects { outgoing, jobs: Vec::new() }
    }
}
