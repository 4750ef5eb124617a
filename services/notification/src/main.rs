//! The notification service's process.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let config = runtime::config::parse::<notification::Config>();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    runtime::main("notification", telemetry, listen, |listener, shutdown| {
        notification::run(config, listener, shutdown)
    })
    .await
}
