//! The payment service's process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let config = runtime::config::parse::<payment::Config>();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    runtime::main("payment", telemetry, listen, |listener, shutdown| payment::run(config, listener, shutdown))
        .await
}
