//! What every binary of the system needs, and nothing more: configuration from the environment, logs,
//! traces and metrics, health, a database pool, structured tasks, and an orderly end.
//!
//! A service's `main` is [`main`]; its `run(config, listeners, shutdown)` is made of the other parts, so
//! that a test can run the same service on a port of its own and stop it.

pub mod clock;
pub mod columns;
pub mod config;
pub mod database;
pub mod error;
pub mod health;
pub mod retry;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;

mod listeners;

use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

pub use crate::listeners::Listeners;

use crate::config::ProcessConfig;

/// The life of a service's process: starts telemetry, listens, runs `run` until it returns, logs a failure once as one
/// line, flushes.
///
/// `run` gets a token that SIGTERM and SIGINT cancel. It is expected to return within 10 s of that.
pub async fn main(
    service: &'static str,
    config: ProcessConfig,
    run: impl AsyncFnOnce(Listeners, CancellationToken) -> anyhow::Result<()>,
) -> ExitCode {
    let telemetry = match telemetry::init(service, &config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return config::fail(&format!("telemetry cannot start: {error:#}")),
    };
    let outcome = async {
        let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
        let listeners = Listeners::bind(&config.http).await?;
        let (address, operations) = (listeners.http.local_addr()?, listeners.operations.local_addr()?);
        tracing::info!(%address, %operations, "{service} started");
        Box::pin(run(listeners, shutdown)).await?;
        tracing::info!("{service} stopped");
        anyhow::Ok(())
    }
    .await;
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "{service} failed");
    }
    telemetry.flush().await;
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
