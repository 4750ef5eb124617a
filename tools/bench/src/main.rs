//! The `bench` command.

use std::process::ExitCode;

use clap::Parser;

/// Measure how fast the system is, compared with the most that this machine can do.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(flatten)]
    args: bench::Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match devstack::own_folder() {
        Ok(binaries) => bench::run(Cli::parse().args, binaries, devstack::print).await,
        Err(error) => Err(error),
    };
    devstack::exit_code(ended)
}
