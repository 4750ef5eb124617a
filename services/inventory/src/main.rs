//! The inventory service's process.

use std::process::ExitCode;

use inventory::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = runtime::config::parse();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    runtime::main("inventory", telemetry, listen, |listener, shutdown| {
        inventory::run(config, listener, shutdown)
    })
    .await
}
