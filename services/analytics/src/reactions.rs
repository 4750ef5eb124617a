//! Reacts to every event of the stream: load what is known of the orders of a batch, fold its events over that, save
//! what is new and what it adds to the counts.

use std::collections::HashMap;

use contracts::{Event, InvalidTransition, OrderId};
use messaging::{Delivery, Outcome, Reaction, ReactionError};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{OrderFacts, Projection},
    store,
};

#[derive(Debug, Clone, Copy)]
pub struct Reactions;

impl Reaction for Reactions {
    type Event = Event;
    type Input = Delivery;
    type State = HashMap<OrderId, OrderFacts>;
    type Changes = Projection;

    fn input(delivery: &Delivery) -> Option<Delivery> {
        Some(delivery.clone())
    }

    async fn open(&self, conn: &mut PgConnection, inputs: &[Delivery]) -> Result<Self::State, ReactionError> {
        let orders = inputs.iter().filter_map(|delivery| delivery.envelope.event.order_id());
        let orders: Vec<Uuid> = orders.map(|order| order.0).collect();
        Ok(store::load(conn, &orders).await?)
    }

    fn fold(orders: Self::State, inputs: &[Delivery]) -> Result<Outcome<Projection>, InvalidTransition> {
        let mut changed = Projection::of(orders);
        for Delivery { envelope, .. } in inputs {
            changed.count(envelope.time, &envelope.event, envelope.aggregate_version);
        }
        Ok(Outcome { changed, events: Vec::new(), jobs: Vec::new() })
    }

    async fn save(&self, conn: &mut PgConnection, changed: &Projection) -> Result<(), ReactionError> {
        Ok(store::save(conn, changed).await?)
    }
}
