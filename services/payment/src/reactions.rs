//! Load, react, save: what the events and the processor's answers of a batch do to their payments.

use std::collections::{BTreeSet, HashMap};

use contracts::OrderId;
use messaging::{CausationContext, Delivery, Effects, Handler, HandlerError, NewJob, OutgoingEvent};
use runtime::clock;
use sqlx::PgConnection;

use crate::domain::{Action, Input, Payment, react};
use crate::jobs::CALLS;
use crate::processor::Request;
use crate::store::{self, NewPosting};

/// The handler of the service's events.
#[derive(Debug, Clone, Copy)]
pub struct Reactions;

/// An input, whose payment it is for, and what its effects are caused by.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) order_id: OrderId,
    pub(crate) input: Input,
    pub(crate) origin: CausationContext,
}

impl Handler for Reactions {
    type Event = contracts::Event;

    async fn handle(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<Effects, HandlerError> {
        let heard: Vec<_> = batch.iter().filter_map(Heard::of).collect();
        let order_ids: BTreeSet<_> = heard.iter().map(|heard| heard.order_id).collect();
        let blanks: Vec<_> = order_ids.into_iter().map(|order_id| (order_id, clock::new_id())).collect();
        store::insert_placeholders(conn, &blanks).await?;
        apply(conn, heard).await
    }
}

/// Applies the inputs to their payments, which exist, in the order given.
pub(crate) async fn apply(conn: &mut PgConnection, heard: Vec<Heard>) -> Result<Effects, HandlerError> {
    let order_ids: BTreeSet<_> = heard.iter().map(|heard| heard.order_id).collect();
    let payments = store::load_for_update(conn, &Vec::from_iter(order_ids)).await?;
    let outcome = fold(payments, heard)?;
    store::save(conn, &outcome.changed).await?;
    store::post(conn, &outcome.postings, clock::now()).await?;
    Ok(outcome.effects)
}

/// What a batch comes to.
struct Outcome {
    changed: Vec<Payment>,
    postings: Vec<NewPosting>,
    effects: Effects,
}

fn fold(mut payments: HashMap<OrderId, Payment>, heard: Vec<Heard>) -> Result<Outcome, HandlerError> {
    let mut changed = BTreeSet::new();
    let mut postings = Vec::new();
    let mut effects = Effects::default();
    for Heard { order_id, input, origin } in heard {
        let no_payment = || {
            HandlerError::InvalidTransition(format!("order {order_id} has no payment for {:?}", input.name()))
        };
        let payment = payments.get_mut(&order_id).ok_or_else(no_payment)?;
        let reaction = react(payment, &input)
            .map_err(|impossible| HandlerError::InvalidTransition(impossible.to_string()))?;
        if reaction.payment.version != payment.version {
            changed.insert(order_id);
        }
        *payment = reaction.payment;
        postings.extend(reaction.posting.map(|(posting, amount)| NewPosting { order_id, posting, amount }));
        if let Some(action) = reaction.call {
            effects.jobs.push(job(action, payment, origin.clone())?);
        }
        if let Some(event) = reaction.announce {
            effects.outgoing.push(OutgoingEvent { event, aggregate_version: payment.version, origin });
        }
    }
    payments.retain(|order_id, _| changed.contains(order_id));
    Ok(Outcome { changed: payments.into_values().collect(), postings, effects })
}

fn job(action: Action, payment: &Payment, origin: CausationContext) -> Result<NewJob, HandlerError> {
    let lacking = || anyhow::anyhow!("payment {} lacks what it takes to {action}", payment.payment_id);
    let request = Request::new(action, payment).ok_or_else(lacking)?;
    let payload = serde_json::to_value(request).map_err(anyhow::Error::from)?;
    Ok(NewJob { id: clock::new_id(), queue: CALLS, key: payment.order_id.0, payload, origin })
}

impl Heard {
    fn of(delivery: &Delivery) -> Option<Self> {
        let event = &delivery.envelope.event;
        Some(Self { order_id: event.order_id()?, input: Input::of(event)?, origin: delivery.origin() })
    }
}
