//! The process that holds a running system, and the locked file in its folder by which others find it.
//!
//! The lock is the kernel's: it ends with its process, and it tells whose it is. So no other process is ever taken for
//! the holder, whatever a crash left behind.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};

/// Marks a folder: this process runs the system there, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    // The one handle of this process: closing another of the same file would end the lock.
    file: File,
}

impl Claim {
    /// Takes the folder, unless another process holds a system in it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        require_free(dir)?;
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let path = file(dir);
        let options = File::options().create(true).truncate(false).write(true).open(&path);
        let file = options.with_context(|| format!("cannot write {}", path.display()))?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        file.set_len(0)?;
        Ok(Self { file })
    }

    /// Marks that every service is ready.
    pub(crate) fn ready(&self) -> Result<()> {
        Ok((&self.file).write_all(ready_mark(process::id()).as_bytes())?)
    }
}

/// Fails when a process holds a system in `dir`.
pub(crate) fn require_free(dir: &Path) -> Result<()> {
    match holder(dir) {
        Some(pid) => {
            bail!("the system is running already (process {pid}): stop it first with scripts/down")
        }
        None => Ok(()),
    }
}

/// The process that holds the system in `dir`. Not for the holder itself, whose lock it would end.
pub(crate) fn holder(dir: &Path) -> Option<Pid> {
    let file = File::open(file(dir)).ok()?;
    let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    lock.pid
}

/// Whether the system in `dir` has come up. The mark of an earlier holder does not count.
pub(crate) fn is_ready(dir: &Path) -> bool {
    let text = fs::read_to_string(file(dir)).unwrap_or_default();
    holder(dir).is_some_and(|pid| text == ready_mark(pid.as_raw_pid().unsigned_abs()))
}

fn ready_mark(pid: u32) -> String {
    format!("{pid} ready")
}

fn file(dir: &Path) -> PathBuf {
    dir.join("supervisor.pid")
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{self, BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const FOLDER: &str = "SUPERVISOR_TEST_FOLDER";

    #[test]
    fn file_left_behind_is_nobody() {
        let dir = devstack::temporary_folder().expect("a folder");
        // As if the id of a process that is gone were this one's now.
        fs::write(file(dir.path()), ready_mark(process::id())).expect("written");
        assert_eq!(holder(dir.path()), None);
        assert!(!is_ready(dir.path()) && require_free(dir.path()).is_ok());
    }

    #[test]
    fn holder_is_found_until_it_is_killed() {
        if let Some(dir) = env::var_os(FOLDER) {
            return hold_until_killed(Path::new(&dir));
        }
        let dir = devstack::temporary_folder().expect("a folder");
        let mut child = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "supervisor::tests::holder_is_found_until_it_is_killed", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        assert!(lines.any(|line| line.expect("a line").ends_with("held")));
        assert_eq!(holder(dir.path()), Some(Pid::from_child(&child)));
        assert!(is_ready(dir.path()) && Claim::take(dir.path()).is_err());
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert_eq!(holder(dir.path()), None);
        assert!(!is_ready(dir.path()));
        Claim::take(dir.path()).expect("free again");
    }

    /// What the test above runs in a process of its own.
    fn hold_until_killed(dir: &Path) {
        let claim = Claim::take(dir).expect("free");
        claim.ready().expect("marked");
        devstack::print("held");
        let _ = io::stdin().lines().count();
        drop(claim);
    }
}
