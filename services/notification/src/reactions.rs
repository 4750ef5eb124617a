//! Reacts to events and to the mail server's answers: load the mails about the orders of a batch, fold its inputs over
//! them, save what changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use contracts::{Event, InvalidTransition, OrderId};
use messaging::{CausationContext, Delivery, NewJob, Outcome, Reaction, ReactionError, throttle};
use runtime::columns::column;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{Input, OrderNotifications, Transition, react},
    store,
};

pub(crate) const QUEUE: &str = "notification.mails";

#[derive(Debug, Clone, Copy)]
pub struct Reactions;

#[derive(Debug, Clone)]
pub struct OrderInput {
    pub order_id: OrderId,
    pub input: Input,
    /// The id of the event, or of the job whose result this is.
    pub id: Uuid,
    pub context: CausationContext,
}

impl Reaction for Reactions {
    /// A mail may be a little later.
    const INTERVAL: Duration = throttle::BACKGROUND_INTERVAL;

    type Event = Event;
    type Input = OrderInput;
    type State = BTreeMap<OrderId, OrderNotifications>;
    type Changes = Vec<OrderNotifications>;

    fn input(delivery: &Delivery) -> Option<OrderInput> {
        let envelope = &delivery.envelope;
        let input = Input::Event(envelope.event.clone(), envelope.aggregate_version);
        Some(OrderInput {
            order_id: envelope.event.order_id()?,
            input,
            id: envelope.id,
            context: delivery.origin(),
        })
    }

    async fn open(
        &self,
        conn: &mut PgConnection,
        inputs: &[OrderInput],
    ) -> Result<Self::State, ReactionError> {
        // Only an event can be the first that is known of an order: a result follows a job.
        let events = inputs.iter().filter(|input| matches!(input.input, Input::Event(..)));
        store::insert_placeholders(conn, &events.map(|input| input.order_id.0).collect::<Vec<_>>()).await?;
        Ok(store::load_for_update(conn, &column(inputs, |input| input.order_id.0)).await?)
    }

    fn fold(mails: Self::State, inputs: &[OrderInput]) -> Result<Outcome<Self::Changes>, InvalidTransition> {
        fold_with(react, mails, inputs)
    }

    async fn save(&self, conn: &mut PgConnection, changed: &Self::Changes) -> Result<(), ReactionError> {
        Ok(store::save(conn, changed).await?)
    }
}

/// Folds with another `react`: a simulation injects its faults here.
pub fn fold_with(
    react: impl Fn(&OrderNotifications, &Input, Uuid) -> Result<Transition, InvalidTransition>,
    mut orders: BTreeMap<OrderId, OrderNotifications>,
    inputs: &[OrderInput],
) -> Result<Outcome<Vec<OrderNotifications>>, InvalidTransition> {
    let mut changed = BTreeSet::new();
    let mut outcome = Outcome::<Vec<OrderNotifications>>::default();
    for OrderInput { order_id, input, id, context } in inputs {
        let mails = orders.get_mut(order_id).ok_or_else(|| {
            InvalidTransition::new("notifications of order", order_id, "not known", input.name())
        })?;
        let Transition { next, events, jobs } = react(mails, input, *id)?;
        if next.version != mails.version {
            changed.insert(*order_id);
        }
        *mails = next;
        outcome.publish(events, mails.version, context);
        outcome.jobs.extend(jobs.into_iter().map(|id| new_job(*order_id, id, context.clone())));
    }
    orders.retain(|order_id, _| changed.contains(order_id));
    outcome.changed = orders.into_values().collect();
    Ok(outcome)
}

/// The job that sends a notification. It has the notification's id, so that there is never a second.
fn new_job(order_id: OrderId, id: Uuid, origin: CausationContext) -> NewJob {
    NewJob { id: Some(id), ..NewJob::new(QUEUE, order_id.0, json!({}), origin) }
}
