//! Reacts to an order's events: load the reservations and stock of a batch, fold its events over them, save what
//! changed.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Event, EventSet, InvalidTransition, OrderId};
use messaging::{Delivery, Outcome, Reaction, ReactionError};
use sqlx::PgConnection;

use crate::domain::{Movement, Reservation, Stock, Transition, concerned, react};
use crate::store;

#[derive(Debug, Clone, Copy)]
pub struct Reactions;

/// The reservations that a batch is about, and the stock of their SKUs.
#[derive(Debug, Default)]
pub struct State {
    pub reservations: BTreeMap<OrderId, Reservation>,
    pub stock: Stock,
}

#[derive(Debug, Default)]
pub struct Changes {
    pub reservations: Vec<Reservation>,
    pub movements: Vec<Movement>,
    pub stock: Stock,
}

impl Reaction for Reactions {
    type Event = Event;
    type Input = Delivery;
    type State = State;
    type Changes = Changes;

    fn input(delivery: &Delivery) -> Option<Delivery> {
        Some(delivery.clone())
    }

    async fn open(&self, conn: &mut PgConnection, inputs: &[Delivery]) -> Result<State, ReactionError> {
        let events = || inputs.iter().map(|delivery| &delivery.envelope.event);
        let orders: BTreeSet<OrderId> = events().filter_map(Event::order_id).collect();
        store::insert_placeholders(conn, &orders).await?;
        let reservations = store::load_for_update(conn, &orders).await?;
        let skus = concerned(reservations.values(), events());
        let stock = store::load_stock_for_update(conn, &skus).await?;
        Ok(State { reservations, stock })
    }

    fn fold(state: State, inputs: &[Delivery]) -> Result<Outcome<Changes>, InvalidTransition> {
        fold_with(react, state, inputs)
    }

    async fn save(&self, conn: &mut PgConnection, changed: &Changes) -> Result<(), ReactionError> {
        store::save(conn, &changed.reservations).await?;
        Ok(store::save_stock(conn, &changed.movements, &changed.stock).await?)
    }
}

/// Folds with another `react`: a simulation injects its faults here.
pub fn fold_with(
    react: impl Fn(&Reservation, &Stock, &Event) -> Result<Transition, InvalidTransition>,
    State { mut reservations, mut stock }: State,
    inputs: &[Delivery],
) -> Result<Outcome<Changes>, InvalidTransition> {
    let mut changed = BTreeSet::new();
    let mut outcome = Outcome::<Changes>::default();
    for delivery in inputs {
        let event = &delivery.envelope.event;
        let reservation = event.order_id().and_then(|order_id| reservations.get_mut(&order_id));
        let reservation = reservation.ok_or_else(|| {
            InvalidTransition::new("reservation of order", event.subject(), "not known", event.event_type())
        })?;
        let Transition { next, events, movements } = react(reservation, &stock, event)?;
        if next.version != reservation.version {
            changed.insert(next.order_id);
        }
        *reservation = next;
        stock.apply(&movements);
        outcome.changed.movements.extend(movements);
        outcome.publish(events, reservation.version, &delivery.origin());
    }
    reservations.retain(|order_id, _| changed.contains(order_id));
    outcome.changed.reservations = reservations.into_values().collect();
    outcome.changed.stock = stock;
    Ok(outcome)
}
