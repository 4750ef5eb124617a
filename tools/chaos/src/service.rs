//! The services as this program runs them: built with their failpoints, each in a process of its own.

use std::env;
use std::process::ExitCode;

/// Names the service that this program is to be, instead of the `chaos` command.
pub const VARIABLE: &str = "CHAOS_SERVICE";

/// The card processor's name, which is no service's.
pub(super) const PROVIDER: &str = system::Outside::PaymentProvider.program().name;

/// Runs the program that the environment names, if it names one, until it ends.
pub async fn run() -> Option<ExitCode> {
    let code = registry::code(&env::var(VARIABLE).ok()?)?;
    Some((code.main)().await)
}
