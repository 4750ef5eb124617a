//! The payment service in memory: one payment per order, and the ledger.

use std::collections::BTreeMap;

use contracts::{Event, Money, OrderId};
use payment::domain::{Answer, Input, Payment};
use payment::ledger::Posting;
use payment::processor::Request;
use uuid::Uuid;

use super::{Effects, Task, invalid_transition};
use crate::invariants::Checked;
use crate::system::System;

/// The tables of the payment service.
#[derive(Clone, Default)]
pub(crate) struct Payments {
    /// One an order.
    pub(crate) rows: BTreeMap<OrderId, Payment>,
    /// Every posting.
    pub(crate) ledger: Vec<(OrderId, Posting, Money)>,
}

impl Payments {
    /// What the service makes of an event; `fresh_id` becomes the payment's when there is none yet.
    pub(super) fn hear(&mut self, system: &System, event: &Event, fresh_id: Uuid) -> Checked<Effects> {
        let (Some(order_id), Some(input)) = (event.order_id(), Input::of(event)) else {
            return Err(invalid_transition("an event that payment does not hear"));
        };
        self.rows.entry(order_id).or_insert_with(|| Payment::placeholder(order_id, fresh_id));
        self.apply(system, order_id, &input)
    }

    /// What the service makes of an answer of the card processor.
    pub(crate) fn answered(
        &mut self,
        system: &System,
        order_id: OrderId,
        answer: Answer,
    ) -> Checked<Effects> {
        self.apply(system, order_id, &Input::Answered(answer))
    }

    fn apply(&mut self, system: &System, order_id: OrderId, input: &Input) -> Checked<Effects> {
        let payment =
            self.rows.get_mut(&order_id).ok_or_else(|| invalid_transition("an answer for no payment"))?;
        let reaction = (system.payment)(payment, input).map_err(|it| invalid_transition(&it))?;
        *payment = reaction.payment;
        self.ledger.extend(reaction.posting.map(|(posting, amount)| (order_id, posting, amount)));
        let mut effects = Effects::default();
        effects.outgoing.extend(reaction.announce.map(|event| (event, payment.version)));
        if let Some(action) = reaction.call {
            let lacking = || invalid_transition(&format!("a payment that lacks what it takes to {action}"));
            effects.jobs.push(Task::Call(order_id, Request::new(action, payment).ok_or_else(lacking)?));
        }
        Ok(effects)
    }
}
