#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: hello::Config = runtime::config::parse();
    let (telemetry, listen) = (config.telemetry.clone(), config.http.listen);
    let run = |listener, shutdown| hello::greeter::run(config, listener, shutdown);
    runtime::main("greeter", telemetry, listen, run).await
}
