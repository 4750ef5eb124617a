//! The process that holds a running system, and the two files in its folder by which others find it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;

/// Marks a folder: this process runs the system there, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    dir: PathBuf,
}

impl Claim {
    /// Takes the folder, unless another process holds a system in it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        if let Some(pid) = holder(dir) {
            bail!("the system is running already (process {pid}): stop it first with scripts/down");
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        remove(&ready_file(dir))?;
        fs::write(pid_file(dir), process::id().to_string())?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Marks that every service is ready.
    pub(crate) fn ready(&self) -> Result<()> {
        Ok(fs::write(ready_file(&self.dir), "")?)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = remove(&ready_file(&self.dir));
        let _ = remove(&pid_file(&self.dir));
    }
}

/// The live process that holds the system in `dir`. A file that a crash left behind does not count:
/// its process is gone, or its id belongs to another program now.
pub(crate) fn holder(dir: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(pid_file(dir)).ok()?.parse().ok()?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let own = fs::read_to_string("/proc/self/comm").ok()?;
    if program == own { Pid::from_raw(pid) } else { None }
}

/// Whether the system in `dir` has come up.
pub(crate) fn is_ready(dir: &Path) -> bool {
    // In this order: taking a folder removes an old run's file before the new holder is named.
    holder(dir).is_some() && ready_file(dir).exists()
}

fn pid_file(dir: &Path) -> PathBuf {
    dir.join("supervisor.pid")
}

fn ready_file(dir: &Path) -> PathBuf {
    dir.join("ready")
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
