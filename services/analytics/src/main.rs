//! The analytics service's process.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: analytics::Config = runtime::config::parse();
    let process = config.process.clone();
    runtime::main("analytics", process, |listeners, shutdown| analytics::run(config, listeners, shutdown))
        .await
}
