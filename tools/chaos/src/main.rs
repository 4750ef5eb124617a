//! The `chaos` command.

use std::process::ExitCode;

use clap::Parser;

/// Run the whole system under load while everything that can fail does, and audit it afterwards.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Cli {
    #[command(flatten)]
    args: chaos::Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    match chaos::run_service().await {
        Some(ended) => ended,
        None => devstack::exit_code(chaos::run(Cli::parse().args).await),
    }
}
