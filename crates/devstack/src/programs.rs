//! Finding installed programs.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

/// The first `name` in the folders of `path`, a list like that of the variable PATH.
pub(crate) fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
