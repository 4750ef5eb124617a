//! The process: how it starts, what it says when it cannot, how it ends. It stands for every service.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::Provider;

fn command(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payment-provider"));
    command.env_clear().envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(variables).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// Starts it on free ports, and reads its log up to the line that says where it listens, which is given, too.
fn start() -> (Child, BufReader<std::process::ChildStdout>, Value) {
    let variables = [("HTTP_LISTEN", "127.0.0.1:0"), ("HTTP_SHUTDOWN_DELAY", "0ms")];
    let mut child = command(&variables).spawn().unwrap();
    let mut log = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    (child, log, serde_json::from_str(&line).unwrap())
}

#[test]
fn a_malformed_variable_is_named_and_ends_it_with_2() {
    let (code, stdout, stderr) = output(&[], &[("HANG_DURATION", "soon")]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    let message =
        "error: invalid value 'soon' for '--hang-duration <HANG_DURATION>': write a duration as 250ms";
    assert!(stderr.starts_with(message), "{stderr}");
}

#[test]
fn help_lists_the_variables_and_version_the_version() {
    let (code, stdout, _) = output(&["--help"], &[]);
    assert_eq!(code, 0);
    for text in ["[default: 0.0.0.0:8090]", "[env: JOURNAL_PATH=]", "[env: DOWN_DURATION=]", "[default: 45s]"]
    {
        assert!(stdout.contains(text), "{text} is not in:\n{stdout}");
    }
    assert_eq!(output(&["--version"], &[]).1, format!("payment-provider {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_port_that_is_taken_is_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stdout, _) = output(&[], &[("HTTP_LISTEN", &address)]);
    assert_eq!((code, stdout.lines().count()), (1, 1));
    let line: Value = serde_json::from_str(&stdout).unwrap();
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with(&format!("cannot listen on {address}: free the port, or set HTTP_LISTEN")),
        "{error}"
    );
}

#[test]
fn sigterm_and_sigint_end_it_in_order() {
    for signal in ["-TERM", "-INT"] {
        let (mut child, log, _) = start();
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        let last = log.lines().map(Result::unwrap).last().unwrap();
        assert!(last.contains("payment-provider stopped"), "{last}");
    }
}

#[tokio::test]
async fn it_is_ready_at_once() {
    let provider = Provider::quick().await;
    for (path, status) in [("/health/ready", "ready"), ("/health/live", "live"), ("/health/parts", "up")] {
        assert_eq!(provider.operations(path).await.body["status"], status);
    }
}

#[tokio::test]
async fn a_process_shows_its_metrics() {
    let (mut child, _log, listens) = start();
    let get = async |listener: &str, path: &str| {
        let address = listens[listener].as_str().unwrap();
        reqwest::get(format!("http://{address}{path}")).await.unwrap().text().await.unwrap()
    };
    get("address", "/v1/report").await;
    let metrics = get("operations", "/metrics").await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(metrics.contains(r#"http_route="/v1/report"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"service_name="payment-provider""#), "{metrics}");
}
