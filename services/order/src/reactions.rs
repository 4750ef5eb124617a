//! The shell around [`react`]: loads the orders of a batch, folds its events over them in memory, saves what changed.

use std::collections::BTreeSet;

use contracts::{Event, OrderId, Versions};
use messaging::{Delivery, Effects, Handler, HandlerError};
use runtime::clock;
use sqlx::PgConnection;

use crate::{
    domain::{InvalidTransition, react},
    event_log::{Cause, EventRecorder},
    store,
};

/// Hears what [`Service::Order`](system::Service::Order) names.
#[derive(Debug, Clone, Default)]
pub struct Reactions {
    /// The versions of events that it reads.
    pub versions: Versions<Event>,
}

impl Handler for Reactions {
    type Event = Event;

    fn versions(&self) -> Versions<Event> {
        self.versions.clone()
    }

    async fn handle(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<Effects, HandlerError> {
        let (mut products, mut answers) = (Vec::new(), Vec::new());
        for delivery in batch {
            match &delivery.envelope.event {
                Event::ProductListed(product) => {
                    products.push((product, delivery.envelope.aggregate_version))
                }
                _ => answers.push(delivery),
            }
        }
        if !products.is_empty() {
            store::list_prices(conn, &products).await?;
        }
        if answers.is_empty() {
            return Ok(Effects::default());
        }
        hear(conn, &answers).await
    }
}

async fn hear(conn: &mut PgConnection, answers: &[&Delivery]) -> Result<Effects, HandlerError> {
    let ids: BTreeSet<OrderId> =
        answers.iter().filter_map(|answer| answer.envelope.event.order_id()).collect();
    let ids: Vec<OrderId> = ids.into_iter().collect();
    let mut orders = store::load_for_update(conn, &ids).await?;
    let now = clock::now();
    let mut record = EventRecorder::default();
    for answer in answers {
        let heard = &answer.envelope.event;
        let order = heard.order_id().and_then(|order_id| orders.get_mut(&order_id));
        let order = order.ok_or_else(|| InvalidTransition::unknown(heard))?;
        let facts = react(order, heard)?;
        record.add(order, facts, &Cause::heard(answer, now));
    }
    let changed: BTreeSet<OrderId> = record.entries.iter().map(|entry| entry.order_id).collect();
    if !changed.is_empty() {
        orders.retain(|order_id, _| changed.contains(order_id));
        store::save(conn, &orders.values().collect::<Vec<_>>()).await?;
        store::append(conn, &record.entries).await?;
    }
    Ok(Effects::publish(record.outgoing))
}

impl From<InvalidTransition> for HandlerError {
    fn from(impossible: InvalidTransition) -> Self {
        Self::InvalidTransition(impossible.to_string())
    }
}
