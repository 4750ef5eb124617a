//! The `chaos` command.

use std::io::{self, Write};
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
    if let Some(ended) = chaos::service::run().await {
        return ended;
    }
    chaos::run(Cli::parse().args, print).await.unwrap_or_else(|error| {
        print_error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// A reader that is gone, such as `head`, is no error.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a command reports errors on stderr")]
fn print_error(line: &str) {
    eprintln!("error: {line}");
}
