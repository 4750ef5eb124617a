//! The order service.
//!
//! - It owns orders, the log that each is folded from, and its own list of prices.
//! - It says `order.placed`, `order.confirmed`, `order.cancelled` and `order.completed`.
//! - It hears `product.listed`, and what inventory and payment answer to an order.
//!
//! The life of an order is [`domain::react`]; every state with every event is in `matrix.md`.

mod config;
pub mod domain;
pub mod door;
pub mod http;
pub mod jobs;
pub mod log;
pub mod matrix;
pub mod placing;
pub mod reactions;
pub mod state;
pub mod store;

pub use config::{Config, Limits};
pub use domain::SUBSCRIBES;

use std::sync::Arc;

use events::Service;
use messaging::Node;
use runtime::{database::Wait, tasks::Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{door::Door, http::App, placing::Placing, reactions::Reactions};

/// Runs the service until the shutdown, or until something fails that time will not heal.
///
/// # Errors
/// What failed, in one line.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let node = Node::new(Service::Order, SUBSCRIBES, &config.database, &config.broker, shutdown.clone())?;
    let (pool, outbox) = (node.pool.clone(), node.outbox.clone());
    let door = Arc::new(Door::new(config.limits));
    let mut tasks = Tasks::new(shutdown.clone());

    let (counter, placing) = Placing::new(pool.clone(), outbox.clone(), door.clone(), config.deadline);
    let app = App { pool: pool.clone(), outbox: outbox.clone() };
    // Who waits for an order to be placed holds no connection.
    let placing_router = runtime::http::admit(http::placing_router(counter), placing::WAITING);
    let router =
        runtime::http::admit(http::router(app), config.database.max_connections).merge(placing_router);
    let (health, stop) = (node.health.clone(), shutdown.clone());
    tasks.spawn(
        "http",
        async move { runtime::http::serve(listener, router, health, &config.http, stop).await },
    );
    tasks.spawn("placing", placing.run());
    if node.open(&store::MIGRATIONS).await? == Wait::Usable {
        tasks.spawn("deadlines", jobs::watch_deadlines(pool.clone(), outbox, shutdown.clone()));
        tasks.spawn("door", door::watch(door, pool, shutdown));
        node.start(&mut tasks, Reactions);
    }
    tasks.join().await
}
