//! The services as real processes, for what only a process has: exit codes, stderr, signals.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use system::{Dependency, Service, VHOST};
use testkit::{DEADLINE, World};
use tokio::process::Command;

/// The names of the services.
pub(super) fn service_names() -> impl Iterator<Item = &'static str> {
    Service::ALL.iter().map(|service| service.as_str())
}

/// Variables of a process, which gets these and no others.
pub(crate) type Variables = BTreeMap<String, String>;

/// How a process ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// What it printed on stdout.
    pub(crate) stdout: String,
    /// What went wrong, by its own account: lines on stderr, and lines of the log that are errors.
    pub(crate) complaints: Vec<String>,
}

impl Ended {
    /// Asserts that it failed with one line that has all the parts in it.
    #[track_caller]
    pub(crate) fn failed_saying(&self, parts: &[&str]) {
        assert!(self.code.is_some_and(|code| code != 0), "exit code: {self:?}");
        let [line] = self.complaints.as_slice() else { panic!("not one line: {self:?}") };
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in: {line}");
        }
    }

    /// Asserts that its configuration was refused with a message that has all the parts in it.
    #[track_caller]
    pub(crate) fn refused_configuration(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        let message = self.complaints.join("\n");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }
}

/// The folder of the services' programs, beside that of this test.
pub(crate) fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("this test is a program");
    test.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned()
}

/// The path of a service's program.
pub(super) fn program(service: &str) -> PathBuf {
    let path = programs().join(service);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    path
}

/// Runs a service's program until it ends by itself.
pub(crate) async fn run(service: &str, arguments: &[&str], variables: &Variables) -> Ended {
    let mut command = Command::new(program(service));
    command.args(arguments).env_clear().envs(variables).kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{service} still runs")).expect("it runs");
    ended_as(&output)
}

fn ended_as(output: &Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let errors = stdout.lines().filter_map(|line| {
        let record: Value = serde_json::from_str(line).ok()?;
        (record["level"] == "ERROR").then(|| format!("{}: {}", record["message"], record["error"]))
    });
    let complaints = stderr.lines().map(str::to_owned).chain(errors).collect();
    Ended { code: output.status.code(), stdout, complaints }
}

/// Variables that are right in form; nobody answers behind their URLs.
pub(super) fn nowhere(service: &str) -> Variables {
    let mut variables = Variables::new();
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
    set("HTTP_LISTEN", "127.0.0.1:0");
    for need in service.parse().map_or(&[][..], Service::needs) {
        let url = match need {
            Dependency::Database => format!("postgres://{service}:hush@127.0.0.1:1/{service}"),
            Dependency::Broker => format!("amqp://{service}:hush@127.0.0.1:1/{VHOST}"),
            Dependency::PaymentProvider => "http://127.0.0.1:1".to_owned(),
            Dependency::MailServer => "smtp://127.0.0.1:1".to_owned(),
        };
        set(need.variable(), &url);
    }
    variables
}

/// Variables with which a service works in that world.
pub(super) async fn at_home(world: &World, service: &str) -> Variables {
    let mut variables = nowhere(service);
    variables.insert("DATABASE_URL".to_owned(), world.database_url(service).await);
    variables.insert("AMQP_URL".to_owned(), world.amqp_url(service));
    variables
}
