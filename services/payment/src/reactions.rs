//! Reacts to an order's events and to the card processor's answers: load the payments of a batch, fold its inputs over
//! them, save what changed.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Event, InvalidTransition, OrderId};
use messaging::{CausationContext, Delivery, NewJob, Outcome, Reaction, ReactionError, jobs};
use runtime::{clock, columns::column};
use serde_json::json;
use sqlx::PgConnection;

use crate::config::CALLS;
use crate::domain::{Action, Input, Payment, Status, Transition, react};
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

/// The payments of a batch.
#[derive(Debug, Default)]
pub struct State {
    pub payments: BTreeMap<OrderId, Payment>,
    /// The orders whose call to authorize was withdrawn before it was ever made.
    pub withdrawn: BTreeSet<OrderId>,
}

#[derive(Debug, Default)]
pub struct Changes {
    pub payments: Vec<Payment>,
    pub postings: Vec<NewPosting>,
}

impl Reaction for Reactions {
    type Event = Event;
    type Input = OrderInput;
    type State = State;
    type Changes = Changes;

    fn input(delivery: &Delivery) -> Option<OrderInput> {
        let event = &delivery.envelope.event;
        Some(OrderInput { order_id: event.order_id()?, input: Input::of(event)?, context: delivery.origin() })
    }

    async fn open(&self, conn: &mut PgConnection, inputs: &[OrderInput]) -> Result<State, ReactionError> {
        // Only an event can be the first that is known of an order: an answer follows a call.
        let events = inputs.iter().filter(|input| !matches!(input.input, Input::Answered(_)));
        let placeholders = column(events, |input| Payment::placeholder(input.order_id));
        store::insert_placeholders(conn, &placeholders).await?;
        let payments = store::load_for_update(conn, &column(inputs, |input| input.order_id)).await?;
        let is_authorizing = |order_id: &OrderId| {
            payments.get(order_id).is_some_and(|payment| payment.status == Status::Authorizing)
        };
        let cancelled = inputs.iter().filter(|input| input.input == Input::Cancelled);
        let cancelled = cancelled.map(|input| input.order_id).filter(is_authorizing);
        let keys: Vec<_> = cancelled.map(|order_id| order_id.0).collect();
        let withdrawn = jobs::withdraw(conn, CALLS, &keys).await?.into_iter().map(OrderId).collect();
        Ok(State { payments, withdrawn })
    }

    fn fold(state: State, inputs: &[OrderInput]) -> Result<Outcome<Changes>, InvalidTransition> {
        fold_with(react, state, inputs)
    }

    async fn save(&self, conn: &mut PgConnection, changed: &Changes) -> Result<(), ReactionError> {
        store::save(conn, &changed.payments).await?;
        Ok(store::post(conn, &changed.postings, clock::now()).await?)
    }
}

/// Folds with another `react`: a simulation injects its faults here.
pub fn fold_with(
    react: impl Fn(&Payment, &Input) -> Result<Transition, InvalidTransition>,
    State { mut payments, withdrawn }: State,
    inputs: &[OrderInput],
) -> Result<Outcome<Changes>, InvalidTransition> {
    let mut changed = BTreeSet::new();
    let mut outcome = Outcome::<Changes>::default();
    for OrderInput { order_id, input, context } in inputs {
        let payment = payments
            .get_mut(order_id)
            .ok_or_else(|| InvalidTransition::new("payment of order", order_id, "not known", input.name()))?;
        let mut input = input;
        if (payment.status, input) == (Status::Authorizing, &Input::Cancelled) {
            let written = outcome.jobs.len();
            outcome.jobs.retain(|job| job.key != order_id.0);
            if outcome.jobs.len() < written || withdrawn.contains(order_id) {
                input = &Input::Withdrawn;
            }
        }
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
        let postings = postings.into_iter().map(|posting| NewPosting { order_id, posting });
        outcome.changed.postings.extend(postings);
    }
    payments.retain(|order_id, _| changed.contains(order_id));
    outcome.changed.payments = payments.into_values().collect();
    Ok(outcome)
}

fn call(action: Action, payment: &Payment, origin: CausationContext) -> Result<NewJob, InvalidTransition> {
    let incomplete = || {
        let call = format_args!("a call to {action}");
        InvalidTransition::new("payment", payment.payment_id, payment.status, call)
    };
    let request = Request::new(action, payment).ok_or_else(incomplete)?;
    let lane = payment.terms.as_ref().map(|terms| terms.method.to_string()).unwrap_or_default();
    Ok(NewJob { lane, ..NewJob::new(CALLS, payment.order_id.0, json!(request), origin) })
}
