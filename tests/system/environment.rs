//! Bad environments: a program names what is wrong and what to do, and waits for what only needs time.

mod collector;
pub(crate) mod process;
mod servers;
mod traces;

use clap::Command;
use futures::future::join_all;
use registry::CODES;

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
