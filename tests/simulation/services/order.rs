//! The order service in memory: orders, the log that each is projected from, and the price list.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{Event, OrderId, Sku};
use messaging::{Delivery, Effects};
use order::domain::{Deadlines, MessageFlow, Moment, Order, PlaceOrder, Prices, decide_cancel, decide_place};
use order::event_log::{Cause, EventRecorder};
use order::reactions::{Changes, PriceChange, State, fold_with};
use order::state::Status;

use super::invalid;
use crate::invariants::Checked;
use crate::plan::Act;
use crate::system::System;

/// How long an order waits for stock and money.
pub(crate) const DEADLINE: TimeDelta = TimeDelta::seconds(30);
/// The same when outages postpone it.
pub(crate) const LATEST_DEADLINE: TimeDelta = TimeDelta::minutes(10);
/// When a confirmed order is cancelled whose money is not captured.
const CAPTURE_DEADLINE: TimeDelta = TimeDelta::hours(24);

/// The tables of the order service.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    /// The orders, each a projection of its log.
    pub(crate) rows: BTreeMap<OrderId, Order>,
    /// Every event that was published or consumed about an order, with its aggregate version.
    pub(crate) logs: BTreeMap<OrderId, Vec<(Event, i64)>>,
    /// What is for sale.
    pub(crate) prices: Prices,
    listed: HashMap<Sku, i64>,
    /// When messages flowed.
    pub(crate) flow: MessageFlow,
}

impl Orders {
    /// An answer to an order, or a price.
    pub(super) fn consume(
        &mut self,
        system: &System,
        delivery: Delivery,
        now: DateTime<Utc>,
    ) -> Checked<Effects> {
        let order = delivery.envelope.event.order_id().and_then(|order_id| self.rows.get(&order_id));
        let orders = order.map(|order| (order.id, order.clone())).into_iter().collect();
        let state = State { orders, moment: Moment::new(now, self.flow, DEADLINE) };
        let outcome = fold_with(system.order, state, &[delivery]).map_err(|it| invalid(&it))?;
        self.save(outcome.changed);
        Ok(Effects { events: outcome.events, jobs: outcome.jobs })
    }

    /// A customer places an order; refused, it leaves nothing.
    pub(super) fn place(
        &mut self,
        order_id: OrderId,
        command: PlaceOrder,
        now: DateTime<Utc>,
    ) -> Option<Effects> {
        let placed = decide_place(order_id, command, &self.prices).ok()?;
        let deadlines = Deadlines {
            decision: now + DEADLINE,
            latest_decision: now + LATEST_DEADLINE,
            capture: now + CAPTURE_DEADLINE,
        };
        let order = Order::placed(placed.clone(), now, deadlines);
        let mut recorder = EventRecorder::default();
        recorder.publish(order.id, order.version, placed.into(), &Cause::command(now));
        Some(self.save_recorded(vec![order], recorder))
    }

    /// A customer cancels; refused, or not found, it changes nothing.
    pub(super) fn cancel(&mut self, order_id: OrderId, now: DateTime<Utc>) -> Option<Effects> {
        let mut order = self.rows.get(&order_id)?.clone();
        let transition = decide_cancel(&order).ok()?;
        let mut recorder = EventRecorder::default();
        recorder.record(&mut order, transition, &Cause::command(now));
        Some(self.save_recorded(vec![order], recorder))
    }

    /// Whether it makes sense to do again what was refused: whatever is about an order that is not there.
    pub(crate) fn may_come_true(&self, act: &Act) -> bool {
        act.order_id().is_some_and(|order_id| !self.rows.contains_key(&order_id))
    }

    /// Whether an order waits that should not any more.
    pub(crate) fn any_expired(&self, now: DateTime<Utc>) -> bool {
        self.rows.values().any(|order| order.deadline().is_some_and(|deadline| deadline <= now))
    }

    /// Whether an order is not over.
    pub(crate) fn any_open(&self) -> bool {
        self.rows.values().any(|order| order.status != Status::Completed && !order.settled())
    }

    /// The clock: what became of the orders whose deadline has passed. Nothing yet when an outage has just begun.
    pub(crate) fn expire(&mut self, system: &System, now: DateTime<Utc>, flows: bool) -> Effects {
        if !flows && self.flow.since(now).is_some() {
            return Effects::default();
        }
        let moment = Moment::new(now, self.flow, DEADLINE);
        let mut recorder = EventRecorder::default();
        let mut orders: Vec<Order> = self.rows.values().cloned().collect();
        for order in &mut orders {
            let transition = (system.timeout)(order, &moment);
            recorder.record(order, transition, &Cause::command(now));
        }
        self.save_recorded(orders, recorder)
    }

    fn save_recorded(&mut self, orders: Vec<Order>, recorder: EventRecorder) -> Effects {
        let EventRecorder { entries, events } = recorder;
        self.save(Changes { orders, entries, prices: Vec::new() });
        Effects::publish(events)
    }

    fn save(&mut self, Changes { prices, orders, entries }: Changes) {
        for PriceChange { sku, listed, aggregate_version } in prices {
            let known = self.listed.entry(sku.clone()).or_default();
            if aggregate_version <= *known {
                continue;
            }
            *known = aggregate_version;
            match listed {
                Some(product) => self.prices.insert(sku, product.price),
                None => self.prices.remove(&sku),
            };
        }
        self.rows.extend(orders.into_iter().map(|order| (order.id, order)));
        for entry in entries {
            self.logs.entry(entry.order_id).or_default().push((entry.event, entry.aggregate_version));
        }
    }
}
