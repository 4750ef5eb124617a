//! Reads a `clap` command from the environment, and words its help and its errors for that.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write,
};

use clap::{
    Arg, ArgMatches, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Run,
    Help,
    Version,
}

pub(super) fn wanted(mut arguments: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let Some(argument) = arguments.next() else {
        return Ok(Wanted::Run);
    };
    match argument.to_string_lossy().as_ref() {
        "-h" | "--help" => Ok(Wanted::Help),
        "-V" | "--version" => Ok(Wanted::Version),
        other => Err(format!(
            "unexpected argument {other:?}: configuration is by environment variables only (see --help)"
        )),
    }
}

/// Gives every variable that is set to the command as an argument: clap reads the process's environment
/// itself otherwise, which no test could change.
pub(super) fn read(command: Command, env: impl Fn(&OsStr) -> Option<OsString>) -> Result<ArgMatches, String> {
    let mut arguments = vec![OsString::from(command.get_name())];
    for arg in command.get_arguments() {
        let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) else {
            continue;
        };
        match env(variable).filter(|value| !value.is_empty()) {
            Some(value) => {
                let mut argument = OsString::from(format!("--{long}="));
                argument.push(value);
                arguments.push(argument);
            }
            None if arg.is_required_set() => return Err(line(arg, "is not set")),
            None => {}
        }
    }
    let mut described = command.clone();
    described.build();
    command
        .mut_args(|arg| arg.env(Resettable::Reset))
        .try_get_matches_from(arguments)
        .map_err(|error| malformed(&described, &error))
}

fn malformed(command: &Command, error: &Error) -> String {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error.to_string().lines().next().unwrap_or_default().to_owned();
    };
    let Some(arg) = command.get_arguments().find(|arg| arg.to_string() == *argument) else {
        return format!("{argument} is malformed");
    };
    let cause = match std::error::Error::source(error) {
        Some(source) => format!(": {source}"),
        None if error.kind() == ErrorKind::InvalidValue => ": no such choice".to_owned(),
        None => String::new(),
    };
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !arg.is_hide_env_values_set() => {
            line(arg, &format!("is {value:?}, which is malformed{cause}"))
        }
        _ => line(arg, &format!("is malformed{cause}")),
    }
}

fn line(arg: &Arg, what: &str) -> String {
    format!("{} {what}: give {} (see --help)", variable(arg), uncapitalized(&meaning(arg)))
}

fn variable(arg: &Arg) -> String {
    arg.get_env().unwrap_or(OsStr::new(arg.get_id().as_str())).to_string_lossy().into_owned()
}

fn meaning(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn uncapitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// The help of a program that is configured by its environment: its variables.
pub(super) fn help(command: &Command) -> String {
    let mut text = command.render_version();
    if let Some(about) = command.get_about() {
        text += &format!("{about}\n");
    }
    text += "\nConfigured by environment variables; an empty one counts as not set:\n";
    let mut variables: Vec<_> = command.get_arguments().filter(|arg| arg.get_env().is_some()).collect();
    variables.sort_unstable_by_key(|arg| arg.get_env());
    for arg in variables {
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let need = match defaults.as_slice() {
            [] if arg.is_required_set() => "required".to_owned(),
            [] => "optional".to_owned(),
            values => format!("default: {}", values.join(",")),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {} [{need}]\n      {}\n", variable(arg), meaning(arg));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::config::{DatabaseConfig, HttpConfig, LogFormat, TelemetryConfig, from_env};

    /// A service.
    #[derive(Debug, Parser)]
    #[command(name = "sample", version, mut_arg("listen", |arg| arg.default_value("0.0.0.0:8099")))]
    struct Config {
        #[command(flatten)]
        http: HttpConfig,
        #[command(flatten)]
        database: DatabaseConfig,
        #[command(flatten)]
        telemetry: TelemetryConfig,
    }

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://order:hush@localhost:5432/order");

    fn parse(variables: &[(&str, &str)]) -> Result<Config, String> {
        from_env(|name| {
            let found = variables.iter().find(|(key, _)| OsStr::new(key) == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[track_caller]
    fn check_error(variables: &[(&str, &str)], expected: &str) {
        assert_eq!(parse(variables).unwrap_err(), expected);
    }

    #[test]
    fn defaults_fill_what_is_not_set() {
        let config = parse(&[DATABASE, ("LOG_FORMAT", "")]).unwrap();
        assert_eq!(config.http.listen.port(), 8099);
        assert_eq!(config.http.request_timeout.as_secs(), 10);
        assert_eq!(config.database.max_connections, 10);
        assert_eq!(config.database.url.expose_secret(), DATABASE.1);
        assert_eq!(config.telemetry.log_format, LogFormat::Json);
        assert_eq!(config.telemetry.otlp_endpoint, None);
    }

    #[test]
    fn a_variable_wins_over_its_default() {
        let config = parse(&[DATABASE, ("HTTP_LISTEN", "127.0.0.1:1"), ("HTTP_REQUEST_TIMEOUT", "250ms")]);
        let http = config.unwrap().http;
        assert_eq!((http.listen.port(), http.request_timeout.as_millis()), (1, 250));
    }

    #[test]
    fn errors_name_the_variable_and_what_would_be_right() {
        check_error(
            &[],
            "DATABASE_URL is not set: give the service's Postgres URL, e.g. \
             postgres://order:secret@localhost:5432/order (see --help)",
        );
        check_error(
            &[DATABASE, ("HTTP_LISTEN", "8080")],
            "HTTP_LISTEN is \"8080\", which is malformed: invalid socket address syntax: \
             give the address and port to serve HTTP on, e.g. 127.0.0.1:8080 (see --help)",
        );
        check_error(
            &[DATABASE, ("HTTP_REQUEST_TIMEOUT", "10")],
            "HTTP_REQUEST_TIMEOUT is \"10\", which is malformed: a duration is written like 250ms, 30s or 5m: \
             give the time a request may take before it is answered 504, e.g. 10s (see --help)",
        );
        check_error(
            &[DATABASE, ("LOG_FORMAT", "xml")],
            "LOG_FORMAT is \"xml\", which is malformed: no such choice: \
             give the form of the log on stdout: json or pretty (see --help)",
        );
        check_error(
            &[DATABASE, ("LOG_FILTER", "info,order=loud")],
            "LOG_FILTER is \"info,order=loud\", which is malformed: error parsing level filter: expected one of \
             \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5: \
             give the log filter: a level, and levels of modules, e.g. info,order=debug,lapin=off (see --help)",
        );
    }

    #[test]
    fn an_error_never_shows_a_secret() {
        for url in ["mysql://order:hush@localhost/order", "postgres://order:hush@local host:x/order"] {
            let line = parse(&[("DATABASE_URL", url)]).unwrap_err();
            assert!(line.starts_with("DATABASE_URL is malformed: it "), "{line}");
            assert!(!line.contains("hush"), "{line}");
        }
    }

    #[test]
    fn arguments_other_than_help_and_version_are_refused() {
        let wanted = |argument: &str| wanted([OsString::from(argument)].into_iter());
        assert_eq!(wanted("--help"), Ok(Wanted::Help));
        assert_eq!(wanted("-V"), Ok(Wanted::Version));
        assert!(wanted("--http-listen=1").unwrap_err().contains("environment variables only"));
    }

    #[test]
    fn help_lists_every_variable() {
        let help = help(&Config::command());
        for line in [
            "DATABASE_URL [required]",
            "HTTP_LISTEN [default: 0.0.0.0:8099]",
            "OTEL_EXPORTER_OTLP_ENDPOINT [optional]",
            "      The form of the log on stdout: json or pretty",
        ] {
            assert!(help.contains(line), "{line} is not in:\n{help}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        use crate::config::duration;
        for (text, milliseconds) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000)] {
            assert_eq!(duration(text).unwrap().as_millis(), milliseconds, "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
