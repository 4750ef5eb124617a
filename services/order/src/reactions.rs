//! Reacts to what inventory and payment answer, and keeps the price list: load the orders of a batch, fold its events
//! over them, save what changed.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{Event, EventSet, InvalidTransition, OrderId, ProductListed, Sku, Versions};
use messaging::{Delivery, Outcome, Reaction, ReactionError};
use sqlx::PgConnection;

use crate::{
    config::DeadlineConfig,
    domain::{Moment, Order, Transition, react},
    event_log::{Cause, EventRecorder, RecordedEvent},
    store,
};

#[derive(Debug, Clone, Default)]
pub struct Reactions {
    pub versions: Versions<Event>,
    pub deadlines: DeadlineConfig,
}

/// The orders that a batch is about, and the moment by which their deadlines are judged.
#[derive(Debug)]
pub struct State {
    pub orders: BTreeMap<OrderId, Order>,
    pub moment: Moment,
}

#[derive(Debug, Default)]
pub struct Changes {
    pub prices: Vec<PriceChange>,
    pub orders: Vec<Order>,
    pub entries: Vec<RecordedEvent>,
}

/// What inventory says of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceChange {
    pub sku: Sku,
    /// `None` once it is delisted.
    pub listed: Option<ProductListed>,
    /// Of the product. An older change never overwrites a newer one, whichever comes first.
    pub aggregate_version: i64,
}

impl PriceChange {
    fn of(event: &Event, aggregate_version: i64) -> Option<Self> {
        let (sku, listed) = match event {
            Event::ProductListed(product) => (product.sku.clone(), Some(product.clone())),
            Event::ProductDelisted(product) => (product.sku.clone(), None),
            _ => return None,
        };
        Some(Self { sku, listed, aggregate_version })
    }
}

impl Reaction for Reactions {
    type Event = Event;
    type Input = Delivery;
    type State = State;
    type Changes = Changes;

    fn input(delivery: &Delivery) -> Option<Delivery> {
        Some(delivery.clone())
    }

    fn versions(&self) -> Versions<Event> {
        self.versions.clone()
    }

    async fn open(&self, conn: &mut PgConnection, inputs: &[Delivery]) -> Result<State, ReactionError> {
        let ids: Vec<OrderId> =
            inputs.iter().filter_map(|delivery| delivery.envelope.event.order_id()).collect();
        let orders = store::load_for_update(conn, &ids).await?;
        // After the locks, so that the note of the flow is no older than what the orders wait for.
        let (now, flow) = store::message_flow(conn).await?;
        Ok(State { orders, moment: self.deadlines.moment(now, flow) })
    }

    fn fold(state: State, inputs: &[Delivery]) -> Result<Outcome<Changes>, InvalidTransition> {
        fold_with(react, state, inputs)
    }

    async fn save(&self, conn: &mut PgConnection, changed: &Changes) -> Result<(), ReactionError> {
        store::save_prices(conn, &changed.prices).await?;
        store::save(conn, &changed.orders).await?;
        Ok(store::append(conn, &changed.entries).await?)
    }
}

/// Folds with another `react`: a simulation injects its faults here.
pub fn fold_with(
    react: impl Fn(&Order, &Event, i64, &Moment) -> Result<Transition, InvalidTransition>,
    State { mut orders, moment }: State,
    inputs: &[Delivery],
) -> Result<Outcome<Changes>, InvalidTransition> {
    let mut recorder = EventRecorder::default();
    let mut prices = Vec::new();
    for delivery in inputs {
        let (event, aggregate_version) = (&delivery.envelope.event, delivery.envelope.aggregate_version);
        if let Some(price) = PriceChange::of(event, aggregate_version) {
            prices.push(price);
            continue;
        }
        let order = event.order_id().and_then(|order_id| orders.get_mut(&order_id)).ok_or_else(|| {
            InvalidTransition::new("order", event.subject(), "not known", event.event_type())
        })?;
        let transition = react(order, event, aggregate_version, &moment)?;
        recorder.record(order, transition, &Cause::consumed(delivery, moment.now));
    }
    let EventRecorder { entries, events } = recorder;
    let changed: BTreeSet<OrderId> = entries.iter().map(|entry| entry.order_id).collect();
    orders.retain(|order_id, _| changed.contains(order_id));
    let changed = Changes { prices, orders: orders.into_values().collect(), entries };
    Ok(Outcome { changed, events, jobs: Vec::new() })
}
