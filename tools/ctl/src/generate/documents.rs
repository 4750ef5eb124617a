//! The parts of documents that follow from tables in the code. A document is prose with blocks between markers:
//! `<!-- generated: NAME -->` and `<!-- end -->`, each on a line of its own.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use system::{Dependency, Program, Reads, Service, programs};

/// The documents that have such blocks.
const DOCUMENTS: [&str; 1] = ["docs/operations.md"];
const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end -->";

/// Every document with its blocks as they should be.
pub(super) fn documents(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let filled = |path: &&str| {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        Ok((PathBuf::from(path), fill(&text).with_context(|| (*path).to_owned())?))
    };
    DOCUMENTS.iter().map(filled).collect()
}

fn fill(text: &str) -> Result<String> {
    let mut filled = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(filled, "{line}");
        let Some(name) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        if !lines.by_ref().any(|line| line == END) {
            bail!("the block {name} has no end");
        }
        let _ = writeln!(filled, "{}{END}", block(name)?);
    }
    Ok(filled)
}

fn block(name: &str) -> Result<String> {
    match name {
        "services" => Ok(services()),
        _ => bail!("there is no block named {name}"),
    }
}

/// One row for each program.
fn services() -> String {
    let mut text =
        String::from("| program | listens on | does | consumes | needs |\n|---|---|---|---|---|\n");
    for Program { name, port, does, .. } in programs() {
        let service: Option<Service> = name.parse().ok();
        let consumes = service.map_or_else(|| "-".to_owned(), consumes);
        let needs: Vec<_> =
            service.map_or(&[][..], Service::needs).iter().map(Dependency::to_string).collect();
        let needs = if needs.is_empty() { "-".to_owned() } else { needs.join(", ") };
        let _ = writeln!(text, "| `{name}` | `0.0.0.0:{port}` | {does} | {consumes} | {needs} |");
    }
    text
}

fn consumes(service: Service) -> String {
    match service.reads() {
        Reads::Queue(events) => {
            events.iter().map(|event| format!("`{}`", event.name())).collect::<Vec<_>>().join(", ")
        }
        Reads::EventStream => "all, from the event stream".to_owned(),
        Reads::Nothing => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_the_prose_around_it_kept() {
        let text = "before\n<!-- generated: services -->\nold\n<!-- end -->\nafter\n";
        let filled = fill(text).expect("a block");
        assert!(filled.starts_with("before\n<!-- generated: services -->\n| program |"), "{filled}");
        assert!(filled.ends_with("|\n<!-- end -->\nafter\n") && !filled.contains("old"), "{filled}");
        assert_eq!(fill(&filled).expect("a block"), filled);
    }

    #[test]
    fn a_block_without_an_end_or_of_an_unknown_name_is_refused() {
        assert!(fill("<!-- generated: services -->\n").is_err());
        assert!(fill("<!-- generated: nobody -->\n<!-- end -->\n").is_err());
    }
}
