//! The notification service's process.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: notification::Config = runtime::config::parse();
    let process = config.process.clone();
    runtime::main("notification", process, |listeners, shutdown| {
        notification::run(config, listeners, shutdown)
    })
    .await
}
