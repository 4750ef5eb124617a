//! The notification service: tells customers by mail what became of their order.
//!
//! - Owns the correspondence about each order: where mails go, and one notification of each kind (confirmed,
//!   cancelled, refunded) at the most.
//! - Hears `order.confirmed`, `order.cancelled` and `payment.refunded`.
//! - Says `notification.sent` and `notification.failed`.
//!
//! [`domain`] holds its rules, and `matrix.md` shows them whole.

pub mod domain;
pub mod mail;
pub mod mail_server;
pub mod matrix;

mod config;
mod http;
mod jobs;
pub mod reactions;
mod store;

pub use config::{Config, SmtpConfig};

use events::Service;
use messaging::Node;
use runtime::{database::Wait, tasks::Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{domain::SUBSCRIBES, reactions::Reactions};

/// Runs the service until the shutdown, or until what it cannot go on without.
///
/// # Errors
/// What no time will heal, in one line.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let node =
        Node::new(Service::Notification, SUBSCRIBES, &config.database, &config.broker, shutdown.clone())?;
    let mails = jobs::runner(&config.smtp, &node);
    let mut tasks = Tasks::new(shutdown.clone());

    let router = runtime::http::admit(http::router(node.pool.clone()), config.database.max_connections);
    let (health, stop) = (node.health.clone(), shutdown.clone());
    tasks.spawn(
        "http",
        async move { runtime::http::serve(listener, router, health, &config.http, stop).await },
    );
    if node.open(&store::MIGRATIONS).await? == Wait::Usable {
        node.start(&mut tasks, Reactions);
        tasks.spawn("mails", mails.run(shutdown));
    }
    tasks.join().await
}
