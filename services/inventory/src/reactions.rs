//! The shell around [`react`]: loads what a batch concerns, folds the events over it in memory, saves what changed.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Event, OrderId};
use messaging::{Delivery, Effects, Handler, HandlerError, OutgoingEvent};
use sqlx::PgConnection;

use crate::domain::{InvalidTransition, Reservation, concerned, react};
use crate::store;

/// Hears what [`Service::Inventory`](system::Service::Inventory) names.
#[derive(Debug, Clone, Copy)]
pub struct Reactions;

impl Handler for Reactions {
    type Event = Event;

    async fn handle(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<Effects, HandlerError> {
        let events = || batch.iter().map(|delivery| &delivery.envelope.event);
        let orders: BTreeSet<OrderId> = events().filter_map(Event::order_id).collect();
        store::insert_placeholders(conn, &orders).await?;
        let mut reservations = store::load_for_update(conn, &orders).await?;
        let skus = concerned(reservations.values(), events());
        let mut stock = store::load_stock_for_update(conn, &skus).await?;

        let (mut changed, mut movements, mut outgoing) = (BTreeSet::new(), Vec::new(), Vec::new());
        for delivery in batch {
            let reservation = reservation_of(&mut reservations, &delivery.envelope.event)?;
            let Some(reaction) = react(reservation, &stock, &delivery.envelope.event)? else {
                continue;
            };
            reservation.apply(&reaction);
            stock.apply(&reaction.movements);
            changed.insert(reservation.order_id);
            movements.extend(reaction.movements);
            outgoing.push(OutgoingEvent {
                event: reaction.announces,
                aggregate_version: reservation.version,
                origin: delivery.origin(),
            });
        }

        reservations.retain(|order_id, _| changed.contains(order_id));
        store::save(conn, reservations.values()).await?;
        store::save_stock(conn, &movements, &stock).await?;
        Ok(Effects::publish(outgoing))
    }
}

fn reservation_of<'a>(
    reservations: &'a mut BTreeMap<OrderId, Reservation>,
    event: &Event,
) -> Result<&'a mut Reservation, HandlerError> {
    let reservation = event.order_id().and_then(|order_id| reservations.get_mut(&order_id));
    reservation.ok_or_else(|| {
        HandlerError::InvalidTransition(format!("inventory does not hear {}", event.event_type()))
    })
}

impl From<InvalidTransition> for HandlerError {
    fn from(impossible: InvalidTransition) -> Self {
        Self::InvalidTransition(impossible.to_string())
    }
}
