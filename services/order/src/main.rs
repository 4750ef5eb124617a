//! The order service's process.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: order::Config = runtime::config::parse();
    let process = config.process.clone();
    runtime::main("order", process, |listeners, shutdown| order::run(config, listeners, shutdown)).await
}
