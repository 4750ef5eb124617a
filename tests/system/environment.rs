//! Bad environments: what is wrong is said in one line that tells what to do, and what only needs time is waited for.

mod collector;
pub(crate) mod process;
mod servers;
mod traces;

use std::fs;

use futures::future::join_all;

use system::{Dependency, Service, programs};

use crate::environment::process::{Variables, nowhere, run, service_names};

/// No address, no URL, no number, no duration, no choice and no log filter.
const GARBAGE: &str = "=?!=";
/// Variables that may hold any text.
const FREE_TEXT: [&str; 1] = ["JOURNAL_PATH"];

#[tokio::test]
async fn help_lists_every_variable() {
    for service in programs().map(|program| program.name) {
        let ended = run(service, &["--help"], &Variables::new()).await;
        assert_eq!((ended.code, ended.complaints.len()), (Some(0), 0), "{ended:?}");
        let listed: Vec<&str> = listed(&ended.stdout).map(|(name, _)| name).collect();
        let read = read_by(service);
        assert!(read.len() > 2, "the configuration of {service} is found");
        for variable in read {
            assert!(listed.contains(&variable.as_str()), "{service} --help does not list {variable}");
        }
    }
}

#[tokio::test]
async fn argument_is_refused_in_favour_of_variables() {
    for service in programs().map(|program| program.name) {
        let ended = run(service, &["--http-listen=127.0.0.1:0"], &nowhere(service)).await;
        ended.failed_saying(&["--http-listen", "environment variables only", "--help"]);
    }
}

#[tokio::test]
async fn missing_variable_is_named_in_one_line() {
    for service in service_names() {
        let help = run(service, &["--help"], &Variables::new()).await.stdout;
        let required: Vec<&str> =
            listed(&help).filter(|(_, need)| *need == "required").map(|(name, _)| name).collect();
        assert!(required.len() >= 3, "{required:?}");
        for variable in required {
            let mut variables = nowhere(service);
            variables.remove(variable);
            let ended = run(service, &[], &variables).await;
            ended.failed_saying(&[&format!("{variable} is not set: give ")]);
        }
    }
}

#[tokio::test]
async fn malformed_variable_is_named_without_its_secret() {
    let check = async |service: &str, variable: &str| {
        let mut variables = nowhere(service);
        variables.insert(variable.to_owned(), GARBAGE.to_owned());
        let ended = run(service, &[], &variables).await;
        ended.failed_saying(&[variable, "give "]);
        assert!(!ended.complaints.concat().contains("hush"), "{ended:?}");
    };
    for service in programs().map(|program| program.name) {
        let help = run(service, &["--help"], &Variables::new()).await.stdout;
        let variables = listed(&help).map(|(name, _)| name).filter(|name| !FREE_TEXT.contains(name));
        join_all(variables.map(|variable| check(service, variable))).await;
    }
}

/// The variables of a help text, each with what stands in its brackets.
fn listed(help: &str) -> impl Iterator<Item = (&str, &str)> {
    help.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(']')?.split_once(" ["))
}

/// The variables that a program's configuration reads, by its sources.
fn read_by(service: &str) -> Vec<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut sources =
        vec![format!("services/{service}/src/config.rs"), "crates/runtime/src/config.rs".to_owned()];
    let needs = service.parse().map_or(&[][..], Service::needs);
    if needs.contains(&Dependency::Broker) {
        sources.push("crates/messaging/src/config.rs".to_owned());
    }
    let text: String =
        sources.iter().map(|path| fs::read_to_string(format!("{root}/{path}")).expect("readable")).collect();
    let names = text.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
    names
        .filter(|name| *name != "NAME")
        .filter(|name| needs.contains(&Dependency::Database) || !name.starts_with("DATABASE_"))
        .filter(|name| needs.iter().any(|need| need.is_outside()) || !name.starts_with("BREAKER_"))
        .map(str::to_owned)
        .collect()
}
