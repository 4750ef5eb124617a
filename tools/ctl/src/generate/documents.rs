//! The table of programs in `docs/operations.md`. It is between two markers, and the prose around it is kept.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use system::{Dependency, Program, Reads, Service, programs};

const DOCUMENT: &str = "docs/operations.md";
const BEGIN: &str = "<!-- generated: services -->\n";
const END: &str = "<!-- end -->\n";

/// The document with its table as it should be.
pub(super) fn operations(root: &Path) -> Result<(PathBuf, String)> {
    let text = fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("cannot read {DOCUMENT}"))?;
    Ok((DOCUMENT.into(), fill(&text).with_context(|| format!("{DOCUMENT} lacks {BEGIN}or {END}"))?))
}

fn fill(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, &services(), END, after].concat())
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
    fn a_block_without_a_marker_is_refused() {
        assert!(fill("<!-- generated: services -->\n").is_none());
        assert!(fill("<!-- generated: nobody -->\n<!-- end -->\n").is_none());
    }
}
