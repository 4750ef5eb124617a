//! The payment service: holds, takes and gives back the money of an order, through a card processor.
//!
//! - Owns one payment per order, its calls to the processor, and the double-entry [`ledger`] of what moved.
//! - Consumes `order.placed`, `order.confirmed` and `order.cancelled`.
//! - Publishes `payment.authorized`, `.declined`, `.captured`, `.capture_failed`, `.voided` and `.refunded`.
//!
//! [`domain`] holds its rules, and `transitions.md` shows them whole. A call to the [`processor`] is a durable job,
//! written in the transaction that decides on it and made with none open; its answer comes back as an input of
//! the same rules.

pub mod domain;
pub mod ledger;
pub mod processor;
pub mod transitions;

mod config;
mod http;
mod jobs;
pub mod reactions;
mod store;

use std::sync::Arc;

use anyhow::Context;
use messaging::{ServiceHost, jobs::JobRunner};
use runtime::{Listeners, database::Wait, tasks::Tasks};
use system::Service;
use tokio_util::sync::CancellationToken;

pub use config::{Config, ProcessorConfig};

use crate::{jobs::Calls, processor::Processor, reactions::Reactions};

/// Runs the service until the shutdown or a permanent error.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let service = Service::Payment;
    let host = ServiceHost::new(service.into(), service.on_broker(), &config.host, shutdown.clone())?;
    let processor = Processor::new(&config.processor).context("no HTTP client for the card processor")?;
    let calls = JobRunner {
        settings: config.processor.jobs(),
        pool: host.pool.clone(),
        unit_of_work: host.unit_of_work.clone(),
        health: host.health.clone(),
        worker: Arc::new(Calls::new(processor)),
    };
    let mut tasks = Tasks::new(shutdown.clone());

    let router = http_api::admit(http::router(host.pool.clone()), config.host.database.max_connections);
    let http = http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown.clone());
    tasks.spawn("http", http);
    if host.open(&[&store::MIGRATIONS]).await? == Wait::Usable {
        host.start(&mut tasks, Reactions);
        tasks.spawn("calls", calls.run(shutdown));
    }
    tasks.join().await
}
