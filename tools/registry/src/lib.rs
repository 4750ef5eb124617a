//! The code of every program by its name. A new service is one more dependency in this crate's manifest: the rest
//! follows from the table in `crates/system`.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::CommandFactory;
use futures::future::BoxFuture;
use runtime::Listeners;
use system::{Outside, Program, Service};
use tokio_util::sync::CancellationToken;

/// Looks a variable up.
pub type Lookup<'a> = &'a dyn Fn(&OsStr) -> Option<OsString>;
/// A program at work, until it is stopped or fails.
pub type Running = BoxFuture<'static, anyhow::Result<()>>;

/// The code of one program.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// Its row of the table.
    pub program: Program,
    /// Its configuration, as a `clap` command.
    pub command: fn() -> clap::Command,
    /// The text of its transition table; none for what consumes from no queue.
    pub transitions: Option<fn() -> String>,
    /// Runs it with what the lookup finds; fails when a variable is missing or malformed.
    pub start: fn(Lookup<'_>, Listeners, CancellationToken) -> Result<Running, clap::Error>,
    /// Runs it as the program itself would: with the variables of this process, until a signal comes.
    pub main: fn() -> BoxFuture<'static, ExitCode>,
}

macro_rules! codes {
    (
        services {$($service:ident {
            name: $name:literal, code: $code:ident, port: $port:literal, path: $path:literal, does: $does:literal,
            reads: $reads:ident $_events:tt, $($_rest:tt)*
        })+}
        outside { $($outside:ident { name: $outside_name:literal, code: $outside_code:ident, $($_more:tt)* })+ }
    ) => {
        /// The code of every program, in the order of the table.
        pub const CODES: &[Code] = &[
            $(code!($code, Service::$service.program(), transitions!($reads $code)),)+
            $(code!($outside_code, Outside::$outside.program(), None),)+
        ];
    };
}

macro_rules! code {
    ($code:ident, $program:expr, $transitions:expr) => {
        Code {
            program: $program,
            command: $code::Config::command,
            transitions: $transitions,
            start: |lookup, listeners, shutdown| {
                let config: $code::Config = runtime::config::from_env(lookup)?;
                Ok(Box::pin($code::run(config, listeners, shutdown)))
            },
            main: || {
                Box::pin(async {
                    let config: $code::Config = runtime::config::parse();
                    let process = config.process.clone();
                    let run = |listeners, shutdown| $code::run(config, listeners, shutdown);
                    runtime::main($program.name, process, run).await
                })
            },
        }
    };
}

macro_rules! transitions {
    (Queue $code:ident) => {
        Some($code::transitions::transitions)
    };
    ($_reads:ident $_code:ident) => {
        None
    };
}

system::services!(codes);

/// The code of the program of that name.
#[must_use]
pub fn code(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.program.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_listens_on_the_port_of_its_row() {
        for Code { program, command, .. } in CODES {
            let command = command();
            let listen =
                command.get_arguments().find(|argument| argument.get_env() == Some("HTTP_LISTEN".as_ref()));
            let default = listen.and_then(|argument| argument.get_default_values().first()?.to_str());
            assert_eq!(default, Some(format!("0.0.0.0:{}", program.port).as_str()), "{}", program.name);
            assert_eq!(command.get_name(), program.name);
        }
    }

    #[test]
    fn a_service_requires_a_variable_for_each_need() {
        for service in Service::ALL {
            let command = (code(service.as_str()).expect("a row").command)();
            let required: Vec<_> = command
                .get_arguments()
                .filter(|argument| argument.is_required_set())
                .filter_map(|argument| argument.get_env()?.to_str())
                .collect();
            for need in service.needs() {
                assert!(
                    required.contains(&need.variable()),
                    "{service} does not require {}",
                    need.variable()
                );
            }
        }
    }
}
