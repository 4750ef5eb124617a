//! The payment service's process.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: payment::Config = runtime::config::parse();
    let process = config.process.clone();
    runtime::main("payment", process, |listeners, shutdown| payment::run(config, listeners, shutdown)).await
}
