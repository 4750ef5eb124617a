//! A simulated card processor with an HTTP API and faults to inject. It stands for the outside world and knows nothing of
//! its callers but their merchant references.
//!
//! It keeps what was really held, captured and refunded. `GET /v1/report` shows it in pages, so that a caller can be
//! audited against it.
//!
//! Its guarantees are those of a real processor: an idempotency key takes effect once, and the journal survives a
//! restart. So are its faults: responses are late, lost, or never sent.

mod config;
pub mod domain;
mod faults;
mod http;
mod journal;
mod processor;

pub use config::Config;

use rand::{SeedableRng, rngs::StdRng};
use runtime::{Listeners, health::Health};
use tokio_util::sync::CancellationToken;

use crate::{faults::Faults, http::App, processor::Processor};

/// Runs the processor until the shutdown.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let random = config.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
    let app = App {
        processor: Processor::open(config.journal_path.as_deref(), config.down_duration)?.into(),
        faults: Faults::new(random).into(),
        hang: config.hang_duration,
        shutdown: shutdown.clone(),
    };
    http_api::serve(
        listeners,
        http::router(app),
        Health::of("payment-provider"),
        config.process.http,
        shutdown,
    )
    .await
}
