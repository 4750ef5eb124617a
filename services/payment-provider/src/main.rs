//! The process of the simulated card processor.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: payment_provider::Config = runtime::config::parse();
    let process = config.process.clone();
    let run = |listeners, shutdown| payment_provider::run(config, listeners, shutdown);
    runtime::main("payment-provider", process, run).await
}
