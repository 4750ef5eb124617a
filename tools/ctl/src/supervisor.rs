//! The process that holds a running system, and the file in its folder by which others find it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;

/// What follows the process id once every service is ready.
const READY: &str = " ready";

/// Marks a folder: this process runs the system there, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    file: PathBuf,
}

impl Claim {
    /// Takes the folder, unless another process holds a system in it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        require_free(dir)?;
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        fs::write(file(dir), process::id().to_string())?;
        Ok(Self { file: file(dir) })
    }

    /// Marks that every service is ready.
    pub(crate) fn ready(&self) -> Result<()> {
        Ok(File::options().append(true).open(&self.file)?.write_all(READY.as_bytes())?)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
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

/// The live process that holds the system in `dir`. A file that a crash left behind does not count:
/// its process is gone, or its id belongs to another program now.
pub(crate) fn holder(dir: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file(dir)).ok()?;
    let pid: i32 = text.trim_end_matches(READY).parse().ok()?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let own = fs::read_to_string("/proc/self/comm").ok()?;
    if program == own { Pid::from_raw(pid) } else { None }
}

/// Whether the system in `dir` has come up.
pub(crate) fn is_ready(dir: &Path) -> bool {
    holder(dir).is_some() && fs::read_to_string(file(dir)).is_ok_and(|text| text.ends_with(READY))
}

fn file(dir: &Path) -> PathBuf {
    dir.join("supervisor.pid")
}
