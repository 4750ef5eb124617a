//! Reacts to an order's events and to the card processor's answers: load the payments of a batch, fold its inputs over
//! them, save what changed.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Event, InvalidTransition, OrderId};
use messaging::{CausationContext, Delivery, NewJob, Outcome, Reaction, ReactionError};
use runtime::clock;
use serde_json::json;
use sqlx::PgConnection;

use crate::config::CALLS;
use crate::domain::{Action, Input, Payment, Transition, react};
use crate::ledger::NewPosting;
use crate::processor::Request;
use crate::store;

#[derive(Debug, Clone, Copy)]
pub struct Reactions;

#[derive(Debug, Clone)]
pub struct OrderInput {
    pub order_id: OrderId,
    pub input: Input,
    pub context: CausationContext,
}

#[derive(Debug, Default)]
pub struct Changes {
    pub payments: Vec<Payment>,
    pub postings: Vec<NewPosting>,
}

impl Reaction for Reactions {
    type Event = Event;
    type Input = OrderInput;
    type State = BTreeMap<OrderId, Payment>;
    type Changes = Changes;

    fn input(delivery: &Delivery) -> Option<OrderInput> {
        let event = &delivery.envelope.event;
        Some(OrderInput { order_id: event.order_id()?, input: Input::of(event)?, context: delivery.origin() })
    }

    async fn open(
        &self,
        conn: &mut PgConnection,
        inputs: &[OrderInput],
    ) -> Result<Self::State, ReactionError> {
        // Only an event can be the first that is known of an order: an answer follows a call.
        let events = inputs.iter().filter(|input| !matches!(input.input, Input::Answered(_)));
        let ids: BTreeSet<_> = events.map(|input| input.order_id).collect();
        let placeholders: Vec<_> = ids.into_iter().map(|order_id| (order_id, clock::new_id())).collect();
        store::insert_placeholders(conn, &placeholders).await?;
        let ids: BTreeSet<_> = inputs.iter().map(|input| input.order_id).collect();
        Ok(store::load_for_update(conn, &Vec::from_iter(ids)).await?)
    }

    fn fold(payments: Self::State, inputs: &[OrderInput]) -> Result<Outcome<Changes>, InvalidTransition> {
        fold_with(react, payments, inputs)
    }

    async fn save(&self, conn: &mut PgConnection, changed: &Changes) -> Result<(), ReactionError> {
        store::save(conn, &changed.payments).await?;
        Ok(store::post(conn, &changed.postings, clock::now()).await?)
    }
}

/// Folds with another `react`: a simulation injects its faults here.
pub fn fold_with(
    react: impl Fn(&Payment, &Input) -> Result<Transition, InvalidTransition>,
    mut payments: BTreeMap<OrderId, Payment>,
    inputs: &[OrderInput],
) -> Result<Outcome<Changes>, InvalidTransition> {
    let mut changed = BTreeSet::new();
    let mut outcome = Outcome::<Changes>::default();
    for OrderInput { order_id, input, context } in inputs {
        let payment = payments
            .get_mut(order_id)
            .ok_or_else(|| InvalidTransition::new("payment of order", order_id, "not known", input.name()))?;
        let Transition { next, events, jobs, postings } = react(payment, input)?;
        if next.version != payment.version {
            changed.insert(*order_id);
        }
        *payment = next;
        outcome.publish(events, payment.version, context);
        for action in jobs {
            outcome.jobs.push(call(action, payment, context.clone())?);
        }
        let order_id = *order_id;
        let postings = postings.into_iter().map(|(posting, amount)| NewPosting { order_id, posting, amount });
        outcome.changed.postings.extend(postings);
    }
    payments.retain(|order_id, _| changed.contains(order_id));
    outcome.changed.payments = payments.into_values().collect();
    Ok(outcome)
}

fn call(action: Action, payment: &Payment, origin: CausationContext) -> Result<NewJob, InvalidTransition> {
    let Payment { order_id, payment_id, status, .. } = *payment;
    let invalid =
        || InvalidTransition::new("payment", payment_id, status, format_args!("a call to {action}"));
    let request = Request::new(action, payment).ok_or_else(invalid)?;
    Ok(NewJob { id: None, queue: CALLS, key: order_id.0, payload: json!(request), origin })
}
