//! The `bench` command.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Measure how fast the system is, against what this machine can do at the most.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(flatten)]
    args: bench::Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match own_folder() {
        Ok(binaries) => bench::run(Cli::parse().args, binaries, say).await,
        Err(error) => Err(error),
    };
    ended.unwrap_or_else(|error| {
        say_error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// The services' programs are beside this one.
fn own_folder() -> anyhow::Result<std::path::PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().map(std::path::Path::to_owned).unwrap_or_default())
}

/// Talks to the person who gave the command; one who no longer reads, such as `head`, is not told.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a command talks to the person who gave it")]
fn say_error(line: &str) {
    eprintln!("error: {line}");
}
