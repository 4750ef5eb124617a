//! The process of the simulated card processor.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: payment_provider::Config = runtime::config::parse();
    let process = config.process.clone();
    let run = |listener, shutdown| payment_provider::run(config, listener, shutdown);
    runtime::main("payment-provider", process, run).await
}
