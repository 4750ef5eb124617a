//! Configuration by clap: each setting is an environment variable, and an argument of the same name.
//!
//! A configuration is a `clap::Parser` struct in which every field is `#[arg(long, env = "NAME")]`, with `id = "NAME"`
//! where the field has another name: clap's errors then name the variable. A secret carries `hide_env_values = true`,
//! which also keeps it out of errors. A default of a flattened struct is changed with
//! `#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8081")))]`.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    ops::RangeInclusive,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use clap::{
    Args, Command, Parser, ValueEnum,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tracing_subscriber::filter::Targets;
use url::Url;

/// What every process is told.
#[derive(Debug, Clone, Args)]
pub struct ProcessConfig {
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// How much higher the port for health and metrics is than that for clients, unless `OPERATIONS_LISTEN` says otherwise.
pub const OPERATIONS_PORT_OFFSET: u16 = 1_000;

/// The longest time for which a service that stops goes on accepting requests.
pub const MAX_SHUTDOWN_DELAY: Duration = Duration::from_secs(3);

/// The longest time that requests in flight have to finish afterwards.
pub const MAX_DRAIN: Duration = Duration::from_secs(4);

/// The HTTP server's addresses and time limits.
#[derive(Debug, Clone, Args)]
pub struct HttpConfig {
    /// The address and port to serve HTTP on, e.g. 127.0.0.1:8080
    #[arg(id = "HTTP_LISTEN", long = "http-listen", env = "HTTP_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// The address and port to serve health and metrics on, e.g. 127.0.0.1:9080; without it that of HTTP_LISTEN, with a
    /// port that is 1000 higher
    #[arg(long, env = "OPERATIONS_LISTEN")]
    pub operations_listen: Option<SocketAddr>,

    /// The time that a client has to send the head of a request, and again to send its body, 10ms to 1m, e.g. 10s
    #[arg(id = "HTTP_READ_TIMEOUT", long = "http-read-timeout", env = "HTTP_READ_TIMEOUT")]
    #[arg(default_value = "10s", value_parser = duration(Duration::from_millis(10)..=Duration::from_mins(1)))]
    pub read_timeout: Duration,

    /// The time that a request may take from the end of its body before it is answered 504, 10ms to 10m, e.g. 10s
    #[arg(id = "HTTP_REQUEST_TIMEOUT", long = "http-request-timeout", env = "HTTP_REQUEST_TIMEOUT")]
    #[arg(default_value = "10s", value_parser = duration(Duration::from_millis(10)..=Duration::from_mins(10)))]
    pub request_timeout: Duration,

    /// The time that a service which stops is not ready and goes on accepting requests, until every client has noticed,
    /// 0ms to 3s, e.g. 3s
    #[arg(id = "HTTP_SHUTDOWN_DELAY", long = "http-shutdown-delay", env = "HTTP_SHUTDOWN_DELAY")]
    #[arg(default_value = "3s", value_parser = duration(Duration::ZERO..=MAX_SHUTDOWN_DELAY))]
    pub shutdown_delay: Duration,

    /// The time that requests in flight have to finish after that, 1ms to 4s, e.g. 4s
    #[arg(id = "HTTP_DRAIN_TIMEOUT", long = "http-drain-timeout", env = "HTTP_DRAIN_TIMEOUT")]
    #[arg(default_value = "4s", value_parser = duration(Duration::from_millis(1)..=MAX_DRAIN))]
    pub drain_timeout: Duration,
}

impl HttpConfig {
    /// Where health and metrics are served; none if `OPERATIONS_LISTEN` is not set and no port is that high. Port 0 stays 0:
    /// any free one.
    pub fn operations(&self) -> Option<SocketAddr> {
        let derived = match self.listen.port() {
            0 => Some(0),
            port => port.checked_add(OPERATIONS_PORT_OFFSET),
        };
        self.operations_listen.or_else(|| Some(SocketAddr::new(self.listen.ip(), derived?)))
    }
}

/// The service's own database.
#[derive(Debug, Clone, Args)]
pub struct DatabaseConfig {
    /// The service's Postgres URL, e.g. postgres://order:secret@localhost:5432/order
    #[arg(long = "database-url", env = "DATABASE_URL", hide_env_values = true, value_parser = database_url)]
    #[arg(id = "DATABASE_URL")]
    pub url: SecretString,

    /// The number of connections to open at most, 2 to 1000
    #[arg(long = "database-max-connections", env = "DATABASE_MAX_CONNECTIONS", default_value_t = 10)]
    #[arg(id = "DATABASE_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub max_connections: u32,
}

/// Logs and traces.
#[derive(Debug, Clone, Args)]
pub struct TelemetryConfig {
    /// The form of the log on stdout: json or pretty
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// The log filter: a level, and levels of modules, e.g. info,order=debug,lapin=off
    #[arg(long, env = "LOG_FILTER", default_value = "info,lapin=off,sqlx=warn")]
    pub log_filter: Targets,

    /// The base URL to send traces to by OTLP/HTTP, e.g. http://localhost:4318; without it no traces are sent
    #[arg(id = "OTEL_EXPORTER_OTLP_ENDPOINT", long = "otel-exporter-otlp-endpoint")]
    #[arg(env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = http_url)]
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

/// The configuration of this process, by its arguments and its environment.
///
/// An empty variable counts as not set. Exits as clap does: 0 for `--help` and `--version`, 2 with a message on stderr
/// for a setting that is missing or malformed.
pub fn parse<C: Parser>() -> C {
    let command = C::command().mut_args(|arg| match arg.get_env().map(std::env::var_os) {
        Some(Some(value)) if value.is_empty() => arg.env(Resettable::Reset),
        _ => arg,
    });
    parse_from(command, std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// The configuration by the variables of `env` alone, whatever arguments and environment this process has.
///
/// # Errors
/// A setting that is missing or malformed.
pub fn from_env<C: Parser>(env: impl Fn(&OsStr) -> Option<OsString>) -> Result<C, clap::Error> {
    let command = C::command();
    let mut arguments = vec![OsString::from(command.get_name())];
    for arg in command.get_arguments() {
        let value = arg.get_env().and_then(&env).filter(|value| !value.is_empty());
        if let (Some(long), Some(value)) = (arg.get_long(), value) {
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(value);
            arguments.push(argument);
        }
    }
    parse_from(command.mut_args(|arg| arg.env(Resettable::Reset)), arguments)
}

fn parse_from<C: Parser>(
    mut command: Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<C, clap::Error> {
    let matches = command.try_get_matches_from_mut(arguments).map_err(|mut error| {
        let hidden = command.get_arguments().filter(|arg| arg.is_hide_env_values_set());
        let secrets: Vec<String> = hidden.map(ToString::to_string).collect();
        if matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if secrets.contains(arg)) {
            error.insert(ContextKind::InvalidValue, ContextValue::String("(hidden)".to_owned()));
        }
        error
    })?;
    C::from_arg_matches(&matches)
}

/// Reports on stderr why the process cannot start. The code to exit with is 2.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
pub(crate) fn fail(line: &str) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::from(2)
}

/// The parser of a setting that is a duration in this range, which its `--help` names: a whole number and `ms`, `s`, `m` or
/// `h`, e.g. `250ms`, `30s`, `5m`.
///
/// A limit of no time is one that nothing keeps, and one of centuries is no date: so every setting has both ends.
pub fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| match parse_duration(text) {
        None => Err("write a duration as 250ms, 30s, 5m or 2h".to_owned()),
        Some(time) if !range.contains(&time) => {
            Err(format!("give a time of {} to {}", written(*range.start()), written(*range.end())))
        }
        Some(time) => Ok(time),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*unit).map(Duration::from_millis)
}

/// The same, as a person would write it: `10m`, not `600s`.
fn written(duration: Duration) -> String {
    let total = duration.as_millis();
    let whole = |(_, unit): &&(&str, u64)| total >= u128::from(*unit) && total.is_multiple_of((*unit).into());
    let (name, unit) = UNITS.iter().rfind(whole).unwrap_or(&UNITS[0]);
    format!("{}{name}", total / u128::from(*unit))
}

/// The units of a duration, in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Wraps a secret, for `value_parser`, which asks for a `Result`.
pub fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

fn database_url(text: &str) -> Result<SecretString, String> {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("it must begin with postgres://".to_owned());
    }
    // The parser's error may repeat a part of the URL; the password must not reach a log.
    let options = PgConnectOptions::from_str(text).map_err(|_| {
        "it is not a valid URL, such as postgres://order:secret@localhost:5432/order".to_owned()
    })?;
    if matches!(options.get_ssl_mode(), PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
        return Err(
            "its sslmode asks for TLS, which this build does not speak: use sslmode=disable".to_owned()
        );
    }
    Ok(SecretString::from(text))
}

/// An HTTP URL that paths can be added to. A build without TLS cannot speak `https`.
///
/// # Errors
/// A text that says what is wrong.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" if !url.cannot_be_a_base() => Ok(url),
        "https" => Err("it asks for TLS, which this build does not speak: use http://".to_owned()),
        _ => Err("it does not begin with http://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    /// A service.
    #[derive(Debug, Parser)]
    #[command(name = "sample", version, mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8099")))]
    struct Config {
        #[command(flatten)]
        process: ProcessConfig,
        #[command(flatten)]
        database: DatabaseConfig,
    }

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://order:hush@localhost:5432/order");

    fn config(variables: &[(&str, &str)]) -> Result<Config, String> {
        let lookup = |name: &OsStr| {
            let found = variables.iter().find(|(key, _)| OsStr::new(key) == name);
            found.map(|(_, value)| OsString::from(value))
        };
        from_env(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_replace_missing_and_empty_variables() {
        let config = config(&[DATABASE, ("LOG_FORMAT", "")]).unwrap();
        assert_eq!(config.process.http.listen.port(), 8099);
        assert_eq!(config.process.http.request_timeout.as_secs(), 10);
        assert_eq!(config.database.max_connections, 10);
        assert_eq!(config.database.url.expose_secret(), DATABASE.1);
        assert_eq!(config.process.telemetry.log_format, LogFormat::Json);
        assert_eq!(config.process.telemetry.otlp_endpoint, None);
    }

    #[test]
    fn a_variable_overrides_its_default() {
        let config = config(&[DATABASE, ("HTTP_LISTEN", "127.0.0.1:1"), ("HTTP_REQUEST_TIMEOUT", "250ms")]);
        let http = config.unwrap().process.http;
        assert_eq!((http.listen.port(), http.request_timeout.as_millis()), (1, 250));
    }

    #[test]
    fn operations_are_1000_ports_above_http_unless_told() {
        for (variables, port) in [
            (&[DATABASE, ("HTTP_LISTEN", "127.0.0.1:8081")][..], Some(9081)),
            (&[DATABASE, ("HTTP_LISTEN", "127.0.0.1:0")], Some(0)),
            (&[DATABASE, ("HTTP_LISTEN", "127.0.0.1:65000")], None),
            (&[DATABASE, ("OPERATIONS_LISTEN", "127.0.0.1:1")], Some(1)),
        ] {
            let operations = config(variables).unwrap().process.http.operations();
            assert_eq!(operations.map(|address| address.port()), port, "{variables:?}");
        }
    }

    #[test]
    fn a_database_that_asks_for_tls_is_refused() {
        for (mode, is_ok) in [("disable", true), ("prefer", true), ("require", false), ("verify-full", false)]
        {
            let url = format!("postgres://order@localhost/order?sslmode={mode}");
            assert_eq!(database_url(&url).is_ok(), is_ok, "{mode}");
        }
    }

    #[test]
    fn an_http_url_is_one_that_this_build_speaks() {
        assert!(http_url("http://processor.example/base").is_ok());
        for text in ["", "localhost:8090", "https://processor.example", "amqp://x"] {
            assert!(http_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_variable_and_the_cause() {
        let missing = config(&[]).unwrap_err();
        assert!(missing.contains("not provided") && missing.contains("<DATABASE_URL>"), "{missing}");
        for (variable, value, cause) in [
            ("HTTP_LISTEN", "8080", "invalid socket address syntax"),
            ("HTTP_REQUEST_TIMEOUT", "10", "write a duration as 250ms, 30s, 5m or 2h"),
            ("HTTP_REQUEST_TIMEOUT", "0s", "give a time of 10ms to 10m"),
            ("HTTP_DRAIN_TIMEOUT", "11m", "give a time of 1ms to 4s"),
            ("LOG_FORMAT", "xml", "[possible values: json, pretty]"),
            ("LOG_FILTER", "info,order=loud", "error parsing level filter"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost", "relative URL without a base"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4318", "which this build does not speak"),
        ] {
            let malformed = config(&[DATABASE, (variable, value)]).unwrap_err();
            for part in [format!("<{variable}>"), format!("'{value}'"), cause.to_owned()] {
                assert!(malformed.contains(&part), "{part} is not in: {malformed}");
            }
        }
    }

    #[test]
    fn an_error_never_shows_a_secret() {
        for url in ["mysql://order:hush@localhost/order", "postgres://order:hush@local host:x/order"] {
            let error = config(&[("DATABASE_URL", url)]).unwrap_err();
            assert!(error.contains("'(hidden)' for '--database-url <DATABASE_URL>': it "), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        let any = duration(Duration::ZERO..=Duration::MAX);
        for (text, milliseconds) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(any(text).unwrap().as_millis(), milliseconds, "{text}");
            assert_eq!(written(any(text).unwrap()), text);
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(any(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_a_range() {
        let parse = duration(Duration::from_secs(1)..=Duration::from_mins(90));
        assert_eq!((parse("1s"), parse("90m")), (Ok(Duration::from_secs(1)), Ok(Duration::from_mins(90))));
        for text in ["0s", "999ms", "5401s", "99999999h"] {
            assert_eq!(parse(text), Err("give a time of 1s to 90m".to_owned()), "{text}");
        }
        assert_eq!(written(Duration::ZERO), "0ms");
    }
}
