#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: hello::Config = runtime::config::parse();
    let process = config.process.clone();
    let run = |listener, shutdown| hello::listener::run(config, listener, shutdown);
    runtime::main("listener", process, run).await
}
