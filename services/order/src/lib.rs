//! The order service.
//!
//! - It owns orders, their event log, and its own list of prices.
//! - It publishes `order.placed`, `order.confirmed`, `order.cancelled` and `order.completed`.
//! - It consumes `product.listed` and `product.delisted`, and the answers of inventory and payment to an order.
//!
//! The life of an order is [`domain::react`]; every state with every event is in `transitions.md`.

pub mod admission;
mod config;
pub mod deadlines;
pub mod domain;
pub mod event_log;
pub mod http;
pub mod placement;
pub mod reactions;
pub mod state;
pub mod store;
pub mod transitions;

pub use config::{Config, DeadlineConfig, Limits};

use std::sync::Arc;

use contracts::{Event, Versions};
use http_api::idempotency;
use messaging::ServiceHost;
use runtime::{Listeners, database::Wait, tasks::Tasks};
use system::Service;
use tokio_util::sync::CancellationToken;

use crate::{
    admission::AdmissionControl, deadlines::DeadlineWatcher, http::App, placement::PlacementBatcher,
    reactions::Reactions,
};

/// Runs the service until the shutdown or a permanent error.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_with(Versions::current(), config, listeners, shutdown).await
}

/// The same with the versions of events that it reads, from its queue and from its own event log.
pub async fn run_with(
    versions: Versions<Event>,
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.deadlines.check()?;
    let service = Service::Order;
    let host = ServiceHost::new(service.into(), service.on_broker(), &config.host, shutdown.clone())?;
    let (pool, unit_of_work) = (host.pool.clone(), host.unit_of_work.clone());
    let admission = Arc::new(AdmissionControl::new(config.limits));
    let mut tasks = Tasks::new(shutdown.clone());

    let (placement, batcher) =
        PlacementBatcher::new(pool.clone(), unit_of_work.clone(), admission.clone(), config.deadlines);
    let app = App { pool: pool.clone(), unit_of_work: unit_of_work.clone(), versions: versions.clone() };
    let placement_router = http_api::admit(http::placement_router(placement), placement::QUEUE_CAPACITY);
    let router =
        http_api::admit(http::router(app), config.host.database.max_connections).merge(placement_router);
    let http = http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown.clone());
    tasks.spawn("http", http);
    tasks.spawn("placement", batcher.run());
    if host.open(&[&http_api::MIGRATIONS, &store::MIGRATIONS]).await? == Wait::Usable {
        let deadlines = config.deadlines;
        let watcher =
            DeadlineWatcher { pool: pool.clone(), unit_of_work, health: host.health.clone(), deadlines };
        tasks.spawn("deadlines", watcher.run(shutdown.clone()));
        tasks.spawn("idempotency keys", idempotency::run_pruning(pool.clone(), shutdown.clone()));
        tasks.spawn("admission", admission::watch(admission, pool, shutdown));
        host.start(&mut tasks, Reactions { versions, deadlines });
    }
    tasks.join().await
}
