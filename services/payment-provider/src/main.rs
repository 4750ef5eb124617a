//! The process of the simulated card processor.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let config = runtime::config::parse::<payment_provider::Config>();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    runtime::main("payment-provider", telemetry, listen, |listener, shutdown| {
        payment_provider::run(config, listener, shutdown)
    })
    .await
}
