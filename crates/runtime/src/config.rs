//! Configuration from environment variables, and from nothing else.
//!
//! A configuration is a `clap::Parser` struct in which every field is `#[arg(long, env = "NAME")]`. The
//! doc comment of a field is its help: a noun phrase that says meaning, unit, and an example. A secret
//! carries `hide_env_values = true`, which keeps its value out of error lines. A default of another
//! struct is changed with `#[command(mut_arg("listen", |arg| arg.default_value("0.0.0.0:8081")))]`.

mod environment;

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use clap::{Args, Parser, ValueEnum};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::filter::Targets;
use url::Url;

/// Where a service listens and how long it takes at most.
#[derive(Debug, Clone, Args)]
pub struct HttpConfig {
    /// The address and port to serve HTTP on, e.g. 127.0.0.1:8080
    #[arg(long, env = "HTTP_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// The time a request may take before it is answered 504, e.g. 10s
    #[arg(long, env = "HTTP_REQUEST_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub request_timeout: Duration,

    /// The time that requests in flight have to finish when the service stops, e.g. 7s
    #[arg(long, env = "HTTP_DRAIN_TIMEOUT", default_value = "7s", value_parser = duration)]
    pub drain_timeout: Duration,
}

/// Which database, and how many connections to it.
#[derive(Debug, Clone, Args)]
pub struct DatabaseConfig {
    /// The service's Postgres URL, e.g. postgres://order:secret@localhost:5432/order
    #[arg(long = "database-url", env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    #[arg(id = "database_url")]
    pub url: SecretString,

    /// The number of connections to open at most, 2 to 1000
    #[arg(long = "database-max-connections", env = "DATABASE_MAX_CONNECTIONS", default_value_t = 10)]
    #[arg(id = "database_max_connections", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub max_connections: u32,
}

/// What a service says about itself, and to whom.
#[derive(Debug, Clone, Args)]
pub struct TelemetryConfig {
    /// The form of the log on stdout: json or pretty
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// The log filter: a level, and levels of modules, e.g. info,order=debug,lapin=off
    #[arg(long, env = "LOG_FILTER", default_value = "info,lapin=off,sqlx=warn")]
    pub log_filter: Targets,

    /// The base URL to send traces to by OTLP/HTTP, e.g. http://localhost:4318; without it no traces are sent
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<Url>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Coloured text for people.
    Pretty,
}

/// The configuration of this process, from its environment.
///
/// `--help` and `--version` print and exit 0. A missing or malformed variable, or any argument, is one
/// line on stderr that says what would be right, and exit 2.
#[expect(clippy::print_stdout, reason = "--help and --version answer on stdout")]
pub fn parse<C: Parser>() -> C {
    let command = C::command();
    match environment::wanted(std::env::args_os().skip(1)) {
        Ok(environment::Wanted::Help) => {
            print!("{}", environment::help(&command));
            std::process::exit(0)
        }
        Ok(environment::Wanted::Version) => {
            println!("{}", command.render_version().trim_end());
            std::process::exit(0)
        }
        Ok(environment::Wanted::Run) => {}
        Err(line) => exit(&line),
    }
    from_env(|name| std::env::var_os(name)).unwrap_or_else(|line| exit(&line))
}

/// The configuration that `env` gives. An empty variable counts as one that is not set.
///
/// # Errors
/// One line naming the first variable that is missing or malformed, and what would be right.
pub fn from_env<C: Parser>(env: impl Fn(&OsStr) -> Option<OsString>) -> Result<C, String> {
    let matches = environment::read(C::command(), env)?;
    C::from_arg_matches(&matches).map_err(|error| error.to_string())
}

/// Says on stderr, in one line, why the process cannot start. The code to exit with is 2.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
pub(crate) fn fail(line: &str) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::from(2)
}

fn exit(line: &str) -> ! {
    fail(line);
    std::process::exit(2)
}

/// Reads a duration: a whole number and `ms`, `s`, `m` or `h`, e.g. `250ms`, `30s`, `5m`.
///
/// # Errors
/// Says how a duration is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let total = number.zip(milliseconds).and_then(|(number, unit)| number.checked_mul(unit));
    total.map(Duration::from_millis).ok_or_else(|| "a duration is written like 250ms, 30s or 5m".to_owned())
}

/// Reads a secret, for `value_parser`.
///
/// # Errors
/// Never; clap's signature asks for it.
pub fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

fn database_url(text: &str) -> Result<SecretString, String> {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("it does not begin with postgres://".to_owned());
    }
    // The parser's error may repeat a part of the URL; the password must not reach a log.
    PgConnectOptions::from_str(text).map_err(|_| "it is not a valid URL".to_owned())?;
    Ok(SecretString::from(text))
}
