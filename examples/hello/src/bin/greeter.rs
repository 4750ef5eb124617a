#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config: hello::Config = runtime::config::parse();
    let process = config.process.clone();
    let run = |listener, shutdown| hello::greeter::run(config, listener, shutdown);
    runtime::main("greeter", process, run).await
}
