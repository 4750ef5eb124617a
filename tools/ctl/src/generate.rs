//! `sagactl generate`: writes every generated file. A test finds those that have drifted.

use std::path::{Path, PathBuf};

use crate::choreography;
use anyhow::Context;
use serde_json::Value;

/// Every generated file: its path below the project's root, and its text.
///
/// # Errors
/// Never for what stands in the code; the JSON encoder's signature leaves it open.
pub fn files() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = vec![
        (PathBuf::from("docs/choreography.md"), choreography::document()),
        (PathBuf::from("docs/topology.md"), choreography::topology_document()),
        (PathBuf::from("services/order/transitions.md"), order::transitions::transitions()),
        (PathBuf::from("services/payment/transitions.md"), payment::transitions::transitions()),
        (PathBuf::from("services/inventory/transitions.md"), inventory::transitions::transitions()),
        (PathBuf::from("services/notification/transitions.md"), notification::transitions::transitions()),
        (PathBuf::from("deploy/rabbitmq/definitions.json"), pretty(&system::definitions(system::VHOST))?),
    ];
    for sample in contracts::samples::samples() {
        let name = sample.event.event_type().versioned_name();
        let json: Value = serde_json::from_str(&sample.to_json()?)?;
        files.push((format!("crates/contracts/samples/{name}.json").into(), pretty(&json)?));
    }
    Ok(files)
}

/// Writes the files below the root that differ, and gives their paths.
///
/// # Errors
/// When a file cannot be written.
pub fn write(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = drifted(root)?;
    for (path, text) in &written {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(written.drain(..).map(|(path, _)| path).collect())
}

/// The generated files that are not on disk as they should be, with what they should be.
///
/// # Errors
/// As [`files`].
pub fn drifted(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = files()?;
    files.retain(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text));
    Ok(files)
}

fn pretty(json: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(json)? + "\n")
}
