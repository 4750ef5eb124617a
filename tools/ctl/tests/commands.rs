//! The `shop` command as a person or a script meets it: exit codes, and what it says when it cannot.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn shop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sagactl")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn up_names_a_port_that_is_taken_before_it_starts_anything() {
    // When it cannot be taken here, somebody else holds it, which serves as well.
    let _holder = TcpListener::bind(devstack::local_address(8081));
    let folder = devstack::temporary_folder().unwrap();
    for detach in [&["--detach"][..], &[]] {
        let arguments = [&["up", "--dir", folder.path().to_str().unwrap()], detach].concat();
        let output = shop(&arguments);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: port 8081 (order) is taken: "), "{said}");
    }
    assert!(!folder.path().join("postgres").exists());
}

#[test]
fn down_says_when_nothing_is_running() {
    let folder = devstack::temporary_folder().unwrap();
    let output = shop(&["down", "--dir", folder.path().to_str().unwrap()]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "nothing is running\n");
}
