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
    chaos::run(Cli::parse().args, say).await.unwrap_or_else(|error| {
        say_error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Talks to the person who gave the command; one who no longer reads, such as `head`, is not told.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a command talks to the person who gave it")]
fn say_error(line: &str) {
    eprintln!("error: {line}");
}
