//! The `bench` command.

use std::io::{self, Write};
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
    let ended = match own_folder() {
        Ok(binaries) => bench::run(Cli::parse().args, binaries, print).await,
        Err(error) => Err(error),
    };
    ended.unwrap_or_else(|error| {
        print_error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// The services' programs are beside this one.
fn own_folder() -> anyhow::Result<std::path::PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().map(std::path::Path::to_owned).unwrap_or_default())
}

/// A reader that is gone, such as `head`, is no error.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a command reports errors on stderr")]
fn print_error(line: &str) {
    eprintln!("error: {line}");
}
