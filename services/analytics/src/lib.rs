//! The analytics service: what the shop has done so far, in numbers.
//!
//! - Owns the facts of each order as far as the numbers need them, and the counts that follow from them.
//! - Consumes every event, from the stream `domain-events.log`. The offset to go on from, the inbox and the counts
//!   change in one transaction, so that each event counts exactly once.
//! - Publishes nothing.
//!
//! [`domain`] holds what is counted, and how.

pub mod domain;

mod config;
mod http;
pub mod reactions;
mod store;

pub use config::Config;

use messaging::ServiceHost;
use runtime::{Listeners, database::Wait, tasks::Tasks};
use system::Service;
use tokio_util::sync::CancellationToken;

use crate::reactions::Reactions;

/// Runs the service until the shutdown or a permanent error.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = Service::Analytics;
    let host = ServiceHost::new(service.into(), service.on_broker(), &config.host, shutdown.clone())?;
    let mut tasks = Tasks::new(shutdown.clone());

    let router = http_api::admit(http::router(host.pool.clone()), config.host.database.max_connections);
    let http = http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown.clone());
    tasks.spawn("http", http);
    if host.open(&[&store::MIGRATIONS]).await? == Wait::Usable {
        host.start_reader(&mut tasks, Reactions);
    }
    tasks.join().await
}
