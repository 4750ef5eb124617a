//! Bad environments: a program names what is wrong and what to do, and waits for what only needs time.

mod collector;
pub(crate) mod process;
mod servers;
mod traces;

use std::time::Duration;

use clap::Command;
use clap::builder::ValueParser;
use futures::future::join_all;
use registry::CODES;
use runtime::config::duration;

use crate::environment::process::{Variables, nowhere, run};

/// No address, no URL, no number, no duration, no choice and no log filter.
const GARBAGE: &str = "=?!=";
/// Variables that may hold any text.
const FREE_TEXT: [&str; 1] = ["JOURNAL_PATH"];

/// The variables of a program, each with whether it is required. Its errors and its help show it by that name.
fn variables(mut command: Command) -> Vec<(String, bool)> {
    command.build();
    let named = command.get_arguments().filter_map(|arg| {
        let name = arg.get_env()?.to_str().expect("UTF-8").to_owned();
        assert!(arg.to_string().ends_with(&format!("<{name}>")), "{arg} is not shown as {name}");
        Some((name, arg.is_required_set()))
    });
    named.collect()
}

#[tokio::test]
async fn help_lists_every_variable_without_its_secrets() {
    for code in CODES {
        let ended = run(code.program.name, &["--help"], &nowhere(code.program.name)).await;
        assert_eq!((ended.code, ended.complaints.len()), (Some(0), 0), "{ended:?}");
        assert!(!ended.stdout.contains("hush"), "{}", ended.stdout);
        for (variable, _) in variables((code.command)()) {
            assert!(ended.stdout.contains(&format!("[env: {variable}")), "{variable}: {}", ended.stdout);
        }
    }
}

#[tokio::test]
async fn an_unknown_argument_is_refused() {
    for code in CODES {
        let ended = run(code.program.name, &["--no-such-thing"], &nowhere(code.program.name)).await;
        ended.refused_configuration(&["--no-such-thing", "--help"]);
    }
}

#[tokio::test]
async fn a_missing_variable_is_named() {
    for code in CODES {
        for (variable, _) in variables((code.command)()).into_iter().filter(|(_, required)| *required) {
            let mut left = nowhere(code.program.name);
            left.remove(&variable).expect("it was there");
            let ended = run(code.program.name, &[], &left).await;
            ended.refused_configuration(&["not provided", &format!("<{variable}>"), "--help"]);
        }
    }
}

#[tokio::test]
async fn a_malformed_variable_is_named_without_any_secret() {
    let check = async |program: &str, variable: String| {
        let mut variables: Variables = nowhere(program);
        variables.insert(variable.clone(), GARBAGE.to_owned());
        let ended = run(program, &[], &variables).await;
        ended.refused_configuration(&["invalid value", &format!("<{variable}>"), "--help"]);
        assert!(!ended.complaints.concat().contains("hush"), "{ended:?}");
    };
    for code in CODES {
        let variables = variables((code.command)()).into_iter().map(|(name, _)| name);
        let variables = variables.filter(|name| !FREE_TEXT.contains(&name.as_str()));
        join_all(variables.map(|variable| check(code.program.name, variable))).await;
    }
}

#[tokio::test]
async fn longest_deadline_below_the_deadline_stops_the_start() {
    let mut variables: Variables = nowhere("order");
    variables.insert("ORDER_DEADLINE".to_owned(), "1h".to_owned());
    let ended = run("order", &[], &variables).await;
    ended.failed_saying(&["ORDER_DEADLINE_MAX is 600s", "ORDER_DEADLINE 3600s"]);
}

#[test]
fn every_duration_has_the_range_that_its_help_names() {
    let of_durations = ValueParser::new(duration(Duration::ZERO..=Duration::MAX)).type_id();
    for code in CODES {
        let mut command = (code.command)();
        command.build();
        for arg in command.get_arguments().filter(|arg| arg.get_value_parser().type_id() == of_durations) {
            let parse = |value: &str| {
                let argument = format!("--{}={value}", arg.get_long().expect("a long name"));
                let required = arg.clone().required(false);
                let alone = Command::new("alone").arg(required);
                alone.try_get_matches_from(["alone", &argument]).map_err(|error| error.to_string())
            };
            let refusal = parse("99999999h").expect_err("a deadline that is no date");
            let (_, range) = refusal.split_once("give a time of ").expect(&refusal);
            let range = range.lines().next().expect("a line");
            let help = arg.get_help().expect("a help").to_string();
            assert!(help.contains(range), "{arg}: {range} is not in: {help}");
            assert_eq!(parse("0s").is_ok(), range.starts_with("0ms"), "{arg}");
        }
    }
}
