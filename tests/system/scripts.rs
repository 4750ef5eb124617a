//! The scripts on a machine that they do not run on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::documents::root;

/// The scripts that run servers or programs of this machine, with the argument that makes them do so.
const NATIVE: [(&str, &[&str]); 6] = [
    ("examples/hello/run", &[]),
    ("scripts/bench", &[]),
    ("scripts/prepare-queries", &[]),
    ("scripts/test", &[]),
    ("scripts/test-scaffold", &[]),
    ("scripts/up", &["--native"]),
];

#[test]
fn native_scripts_refuse_other_systems_than_linux() {
    let tools = tempfile::tempdir().expect("a folder");
    let uname = tools.path().join("uname");
    fs::write(&uname, "#!/bin/sh\necho Darwin\n").expect("written");
    fs::set_permissions(&uname, fs::Permissions::from_mode(0o755)).expect("executable");
    // No cargo, so that a script that goes on builds nothing.
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    for (script, arguments) in NATIVE {
        let mut command = Command::new(root().join(script));
        let output = command.args(arguments).env("PATH", &path).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{script}");
        assert!(said.contains("on Linux only") && said.contains("scripts/up --docker"), "{script}: {said}");
        assert_eq!(said.lines().count(), 1, "{script}: {said}");
    }
}
