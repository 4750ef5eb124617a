//! Where the data go. Root's home is closed to the database's user, so root's data go to /var/tmp.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::geteuid;
use tempfile::TempDir;

/// The folder of the system that runs on the standard ports: `.stack` in `project`, or
/// `/var/tmp/order-saga` for root.
pub fn default_folder(project: &Path) -> PathBuf {
    if geteuid().is_root() { PathBuf::from("/var/tmp/order-saga") } else { project.join(".stack") }
}

/// A new folder for servers that end with a test; it goes when it is dropped.
pub fn temporary_folder() -> Result<TempDir> {
    let parent = if geteuid().is_root() { PathBuf::from("/var/tmp") } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new()
        .prefix("order-saga-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(&parent)
        .with_context(|| format!("cannot create a folder in {}", parent.display()))?;
    // Once more, because the mode at creation is narrowed by the umask.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    Ok(folder)
}
