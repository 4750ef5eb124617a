//! The payment service: holds, takes and gives back the money of an order, through a card processor.
//!
//! - Owns one payment per order, its calls to the processor, and the double-entry [`ledger`] of what moved.
//! - Hears `order.placed`, `order.confirmed` and `order.cancelled`.
//! - Says `payment.authorized`, `.declined`, `.captured`, `.capture_failed`, `.voided` and `.refunded`.
//!
//! [`domain`] holds its rules, and `matrix.md` shows them whole. A call to the [`processor`] is a durable job,
//! written in the transaction that decides on it and made with none open; its answer comes back as an input of
//! the same rules.

pub mod domain;
pub mod ledger;
pub mod matrix;
pub mod processor;

mod config;
mod http;
mod jobs;
pub mod reactions;
mod store;

use std::sync::Arc;

use anyhow::Context;
use events::Service;
use messaging::{Node, jobs::JobRunner};
use runtime::{database::Wait, tasks::Tasks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{Config, ProcessorConfig};

use crate::{domain::SUBSCRIBES, jobs::Calls, processor::Processor, reactions::Reactions};

/// Runs the service until the shutdown, or until what it cannot go on without.
///
/// # Errors
/// What no time will heal, in one line.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let node = Node::new(Service::Payment, SUBSCRIBES, &config.database, &config.broker, shutdown.clone())?;
    let processor = Processor::new(&config.processor).context("no HTTP client for the card processor")?;
    let calls = JobRunner {
        settings: config.processor.jobs(),
        pool: node.pool.clone(),
        outbox: node.outbox.clone(),
        health: node.health.clone(),
        worker: Arc::new(Calls::new(processor)),
    };
    let mut tasks = Tasks::new(shutdown.clone());

    let router = runtime::http::admit(http::router(node.pool.clone()), config.database.max_connections);
    let (health, stop) = (node.health.clone(), shutdown.clone());
    tasks.spawn(
        "http",
        async move { runtime::http::serve(listener, router, health, &config.http, stop).await },
    );
    if node.open(&store::MIGRATIONS).await? == Wait::Usable {
        node.start(&mut tasks, Reactions);
        tasks.spawn("calls", calls.run(shutdown));
    }
    tasks.join().await
}
