//! Load, react, save: the shell around [`domain`](crate::domain) for what is heard.

use std::{collections::HashMap, time::Duration};

use contracts::OrderId;
use messaging::{Delivery, Effects, Handler, HandlerError, NewJob, throttle};
use runtime::clock;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{InvalidTransition, OrderNotifications},
    jobs, store,
};

/// What this service does with the events that it subscriptions.
#[derive(Debug, Clone, Copy)]
pub struct Reactions;

impl Handler for Reactions {
    type Event = contracts::Event;

    /// A mail may come a little later.
    const PACE: Duration = throttle::BACKGROUND_INTERVAL;

    async fn handle(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<Effects, HandlerError> {
        let mut orders: Vec<Uuid> = batch.iter().filter_map(order_of).map(|order| order.0).collect();
        orders.sort_unstable();
        orders.dedup();
        store::insert_placeholders(conn, &orders).await?;
        let mut loaded = store::load_for_update(conn, &orders).await?;
        let mut jobs = Vec::new();
        for delivery in batch {
            let Some(mails) = order_of(delivery).and_then(|order| loaded.get_mut(&order)) else {
                continue;
            };
            jobs.extend(hear(mails, delivery)?);
        }
        save(conn, &loaded).await?;
        Ok(Effects { jobs, ..Effects::default() })
    }
}

fn order_of(delivery: &Delivery) -> Option<OrderId> {
    delivery.envelope.event.order_id()
}

fn hear(mails: &mut OrderNotifications, delivery: &Delivery) -> Result<Vec<NewJob>, HandlerError> {
    let queued = mails
        .hear(&delivery.envelope.event, clock::new_id())
        .map_err(|error| invalid_transition(mails, error))?;
    let notifications = queued.into_iter().filter_map(|kind| Some((kind, mails.notifications.get(&kind)?)));
    Ok(notifications
        .map(|(kind, it)| jobs::new_job(mails.order_id, kind, it.id, delivery.origin()))
        .collect())
}

/// Saves all that was loaded; what has not changed is written as it was.
pub(crate) async fn save(
    conn: &mut PgConnection,
    loaded: &HashMap<OrderId, OrderNotifications>,
) -> Result<(), HandlerError> {
    let changed: Vec<_> = loaded.values().collect();
    Ok(store::save(conn, &changed).await?)
}

/// Names the order that something impossible happened to.
pub(crate) fn invalid_transition(mails: &OrderNotifications, error: InvalidTransition) -> HandlerError {
    HandlerError::InvalidTransition(format!("order {}: {error}", mails.order_id))
}
