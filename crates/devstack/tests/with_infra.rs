//! `with-infra` as a script meets it: the servers it gives, and the exit code it ends with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn with_infra(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_with-infra")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_gives_the_command_its_servers_and_ends_with_its_code() {
    let script = r#"
        curl -fsS "$TEST_RABBITMQ_MANAGEMENT_URL/api/vhosts/shop" >&2 || exit 1
        (exec 3<>"/dev/tcp/127.0.0.1/${TEST_AMQP_URL##*:}") || exit 2
        (exec 3<>"/dev/tcp/127.0.0.1/${TEST_POSTGRES_URL##*:}") || exit 3
        echo "$TEST_AMQP_URL"
        exit 42"#;
    let output = with_infra(&["bash", "-c", script]);
    assert_eq!(output.status.code(), Some(42), "{}", text(&output.stderr));
    let amqp_url = text(&output.stdout);
    let port = amqp_url.trim().rsplit_once(':').unwrap().1.parse().unwrap();
    assert!(TcpListener::bind(devstack::local_address(port)).is_ok(), "the broker is gone");
}

#[test]
fn it_says_when_the_command_does_not_exist() {
    let output = with_infra(&["no-such-command"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("error: cannot run no-such-command"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn it_says_how_it_is_called_when_there_is_no_command() {
    let output = with_infra(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("with-infra COMMAND"), "{}", text(&output.stderr));
}
