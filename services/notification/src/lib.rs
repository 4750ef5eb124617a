//! The notification service: mails customers the result of their order.
//!
//! - Owns the notifications of each order: the address, and at most one mail of each kind (confirmed, cancelled,
//!   refunded).
//! - Consumes `order.confirmed`, `order.cancelled` and `payment.refunded`.
//! - Publishes `notification.sent` and `notification.failed`.
//!
//! [`domain`] holds its rules, and `transitions.md` shows them whole.

pub mod domain;
pub mod mail;
pub mod mail_server;
pub mod transitions;

mod config;
mod http;
mod jobs;
pub mod reactions;
mod store;

pub use config::{Config, SmtpConfig};

use messaging::ServiceHost;
use runtime::{Listeners, database::Wait, tasks::Tasks};
use system::Service;
use tokio_util::sync::CancellationToken;

use crate::reactions::Reactions;

/// Runs the service until the shutdown or a permanent error.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = Service::Notification;
    let host = ServiceHost::new(service.into(), service.on_broker(), &config.host, shutdown.clone())?;
    let mails = jobs::runner(&config.smtp, &host);
    let mut tasks = Tasks::new(shutdown.clone());

    let router = http_api::admit(http::router(host.pool.clone()), config.host.database.max_connections);
    let http = http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown.clone());
    tasks.spawn("http", http);
    if host.open(&[&store::MIGRATIONS]).await? == Wait::Usable {
        host.start(&mut tasks, Reactions);
        tasks.spawn("mails", mails.run(shutdown));
    }
    tasks.join().await
}
