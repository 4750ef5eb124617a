//! The outside world: a simulated card processor, reached over HTTP, with faults to switch on.
//!
//! It owns what was really held, taken and given back, and shows it in `GET /v1/report`, against which the
//! rest of the system is audited. It publishes and consumes no events: it belongs to somebody else.
//!
//! It is reliable where a real one is (an idempotency key takes effect once, a journal survives a restart)
//! and as unreliable as a real one where that hurts: answers that are late, lost, or never sent.

mod config;
pub mod domain;
mod faults;
mod http;
mod journal;
mod processor;

pub use config::Config;

use rand::{SeedableRng, rngs::StdRng};
use runtime::health::Health;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{faults::Faults, http::App, processor::Processor};

/// Runs the processor until the shutdown.
///
/// # Errors
/// When the journal cannot be read, or the listener fails.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let random = config.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
    let app = App {
        processor: Processor::open(config.journal_path.as_deref(), config.down_duration)?.into(),
        faults: Faults::new(random).into(),
        hang: config.hang_duration,
        shutdown: shutdown.clone(),
    };
    http_api::serve(listener, http::router(app), Health::of("payment-provider"), config.http, shutdown).await
}
