//! The payment service in memory: one payment per order, and the ledger.

use std::collections::BTreeMap;

use contracts::OrderId;
use messaging::{CausationContext, Delivery, Effects, Reaction};
use payment::domain::{Answer, Input, Payment, Status};
use payment::ledger::NewPosting;
use payment::reactions::{OrderInput, Reactions, State, fold_with};

use super::invalid;
use crate::invariants::Checked;
use crate::system::System;

/// The tables of the payment service.
#[derive(Clone, Default)]
pub(crate) struct Payments {
    /// One an order.
    pub(crate) rows: BTreeMap<OrderId, Payment>,
    /// Every posting.
    pub(crate) ledger: Vec<NewPosting>,
}

impl Payments {
    /// What the service makes of an event, and of a call to authorize that was withdrawn before it was ever made.
    pub(super) fn consume(
        &mut self,
        system: &System,
        delivery: &Delivery,
        withdrawn: Option<OrderId>,
    ) -> Checked<Effects> {
        let input =
            Reactions::input(delivery).ok_or_else(|| invalid("an event that payment does not consume"))?;
        let order_id = input.order_id;
        self.rows.entry(order_id).or_insert_with(|| Payment::placeholder(order_id));
        self.apply(system, input, withdrawn)
    }

    /// Whether the payment of an order waits for the answer to its call to authorize.
    pub(crate) fn is_authorizing(&self, order_id: OrderId) -> bool {
        self.rows.get(&order_id).is_some_and(|payment| payment.status == Status::Authorizing)
    }

    /// What the service makes of an answer of the card processor.
    pub(crate) fn answered(
        &mut self,
        system: &System,
        order_id: OrderId,
        answer: Answer,
    ) -> Checked<Effects> {
        let (input, context) = (Input::Answered(answer), CausationContext::default());
        self.apply(system, OrderInput { order_id, input, context }, None)
    }

    fn apply(&mut self, system: &System, input: OrderInput, withdrawn: Option<OrderId>) -> Checked<Effects> {
        let payment = self.rows.get(&input.order_id).cloned();
        let payments = payment.map(|payment| (payment.order_id, payment)).into_iter().collect();
        let state = State { payments, withdrawn: withdrawn.into_iter().collect() };
        let outcome = fold_with(system.payment, state, &[input]).map_err(|it| invalid(&it))?;
        self.rows.extend(outcome.changed.payments.into_iter().map(|it| (it.order_id, it)));
        self.ledger.extend(outcome.changed.postings);
        Ok(Effects { events: outcome.events, jobs: outcome.jobs })
    }
}
