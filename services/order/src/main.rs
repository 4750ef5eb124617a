//! The order service's process.

use std::process::ExitCode;

use order::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = runtime::config::parse();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    runtime::main("order", telemetry, listen, |listener, shutdown| order::run(config, listener, shutdown))
        .await
}
