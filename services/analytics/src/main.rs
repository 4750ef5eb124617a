//! The analytics service's process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let config = runtime::config::parse::<analytics::Config>();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    runtime::main("analytics", telemetry, listen, |listener, shutdown| {
        analytics::run(config, listener, shutdown)
    })
    .await
}
