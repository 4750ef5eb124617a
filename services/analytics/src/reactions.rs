//! Load, react, save: the shell around [`domain`](crate::domain) for a batch of the stream.

use messaging::{Delivery, HandlerError, StreamHandler};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{domain::Projection, store};

/// What this service does with the events of the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reactions;

impl StreamHandler for Reactions {
    type Event = contracts::Event;

    async fn handle(&self, conn: &mut PgConnection, batch: &[Delivery]) -> Result<(), HandlerError> {
        if batch.is_empty() {
            return Ok(());
        }
        let orders = batch.iter().filter_map(|delivery| delivery.envelope.event.order_id());
        let orders: Vec<Uuid> = orders.map(|order| order.0).collect();
        let mut projection = Projection::of(store::load(conn, &orders).await?);
        for delivery in batch {
            projection.hear(delivery.envelope.time, &delivery.envelope.event);
        }
        Ok(store::save(conn, &projection).await?)
    }
}
