//! `sagactl generate`: writes every generated file. A test finds those that have drifted.

mod deployment;
mod documents;

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

pub use deployment::welcome;

/// Every generated file: its path below the project's root, and its text.
pub fn files(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = vec![
        (PathBuf::from("docs/generated/choreography.md"), documents::choreography()),
        (PathBuf::from("docs/generated/topology.md"), documents::topology()),
        (PathBuf::from("docker-compose.yml"), deployment::compose()),
        (PathBuf::from("Dockerfile"), deployment::dockerfile()),
        (PathBuf::from("deploy/postgres/init.sql"), system::postgres::script()),
        (PathBuf::from("deploy/welcome.txt"), welcome()),
        (PathBuf::from("scripts/services.sh"), deployment::script()),
        (PathBuf::from("deploy/rabbitmq/definitions.json"), pretty(&system::definitions(system::VHOST))?),
    ];
    for code in registry::CODES {
        if let Some(transitions) = code.transitions {
            files.push((format!("services/{}/transitions.md", code.program.name).into(), transitions()));
        }
    }
    for sample in contracts::samples::samples() {
        let name = sample.event.event_type().row().versioned_name;
        let json: Value = serde_json::from_str(&sample.to_json()?)?;
        files.push((format!("crates/contracts/samples/{name}.json").into(), pretty(&json)?));
    }
    files.push(documents::operations(root)?);
    Ok(files)
}

/// Writes the files below the root that differ, and gives their paths.
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
pub fn drifted(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = files(root)?;
    files.retain(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text));
    Ok(files)
}

fn pretty(json: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(json)? + "\n")
}
