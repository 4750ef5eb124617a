#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: hello::Config = runtime::config::parse();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    let run = |listener, shutdown| hello::listener::run(config, listener, shutdown);
    runtime::main("listener", telemetry, listen, run).await
}
