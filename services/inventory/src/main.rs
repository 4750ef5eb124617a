//! The inventory service's process.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: inventory::Config = runtime::config::parse();
    let process = config.process.clone();
    runtime::main("inventory", process, |listeners, shutdown| inventory::run(config, listeners, shutdown))
        .await
}
