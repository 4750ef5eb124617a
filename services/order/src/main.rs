//! The order service's process.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: order::Config = runtime::config::parse();
    let process = config.process.clone();
    runtime::main("order", process, |listener, shutdown| order::run(config, listener, shutdown)).await
}
