//! The inventory service: products, stock, and reservations for orders.
//!
//! - It owns products, stock with its append-only ledger, and one reservation per order.
//! - It publishes `product.listed`, `product.delisted`, `stock.reserved`, `stock.rejected`, `stock.committed` and
//!   `stock.released`.
//! - It consumes `order.placed`, `order.confirmed` and `order.cancelled`.
//!
//! [`domain::react`] holds its rules, and `transitions.md` shows them whole.

pub mod catalogue;
mod config;
pub mod domain;
pub mod http;
pub mod reactions;
pub mod store;
pub mod transitions;

pub use config::Config;

use http_api::idempotency;
use messaging::ServiceHost;
use runtime::{Listeners, database::Wait, tasks::Tasks};
use system::Service;
use tokio_util::sync::CancellationToken;

use crate::reactions::Reactions;

/// Runs the service until the shutdown or a permanent error.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = Service::Inventory;
    let host = ServiceHost::new(service.into(), service.on_broker(), &config.host, shutdown.clone())?;
    let mut tasks = Tasks::new(shutdown.clone());

    let router = http_api::admit(
        http::router(host.pool.clone(), host.unit_of_work.clone()),
        config.host.database.max_connections,
    );
    let http = http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown.clone());
    tasks.spawn("http", http);
    if host.open(&[&http_api::MIGRATIONS, &store::MIGRATIONS]).await? == Wait::Usable {
        if config.demo_catalogue {
            catalogue::list_demo_once(&host.pool, &host.unit_of_work).await?;
        }
        tasks.spawn("idempotency keys", idempotency::run_pruning(host.pool.clone(), shutdown));
        host.start(&mut tasks, Reactions);
    }
    tasks.join().await
}
