//! What the commands that run the system have in common.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

/// Prints a line. A reader that is gone, such as `head`, is no error.
pub fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::print_stderr, reason = "a command reports errors on stderr")]
pub fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// The exit code of a command, whose error is printed.
#[must_use]
pub fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

/// The folder of this program, which those of the services are in as well.
pub fn own_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().context("this program has no folder")?.to_owned())
}
