//! The documents: links lead somewhere, and the tests, terms and variables that they name exist.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders with documents that people write.
const FOLDERS: [&str; 4] = ["", "docs", "docs/guides", "docs/journal"];
/// The past: it names tests that may be gone.
const JOURNAL: &str = "docs/journal";
/// A word in code with this many underscores and no capital is the name of a test ...
const UNDERSCORES_OF_A_TEST: usize = 4;
/// ... or a metric, which begins like this.
const METRIC: &str = "messaging_";

#[test]
fn every_link_in_the_documents_has_a_target() {
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document).parent().expect("a folder").to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{document} links to {path}, which is not there");
            }
        }
    }
}

#[test]
fn every_test_named_in_the_documents_exists() {
    let sources = sources();
    for document in documents().iter().filter(|document| !document.starts_with(JOURNAL)) {
        let text = read(document);
        for name in quoted(&text).filter(|code| names_a_test(code)) {
            assert!(sources.contains(&format!("fn {name}(")), "{document} names {name}, which is no test");
        }
    }
}

#[test]
fn every_type_named_in_the_glossary_exists() {
    let sources = sources();
    let glossary = read("GLOSSARY.md");
    let (terms, _) = glossary.split_once("\n## Words that are out").expect("the terms first");
    for name in quoted(terms).filter(|code| names_a_type(code)) {
        let declared = ["struct", "enum", "trait", "type"].map(|kind| format!("{kind} {name}"));
        assert!(declared.iter().any(|it| sources.contains(it)), "GLOSSARY.md names {name}, which is no type");
    }
}

#[test]
fn operations_document_lists_every_variable_with_its_default() {
    let document = read("docs/operations.md");
    let services: Vec<_> = registry::CODES.iter().map(|code| (code.command)()).collect();
    let mut known = BTreeSet::new();
    for (service, argument) in
        services.iter().flat_map(|service| service.get_arguments().map(move |it| (service, it)))
    {
        let Some(variable) = argument.get_env().and_then(OsStr::to_str) else { continue };
        let row = document.lines().find(|line| line.starts_with(&format!("| `{variable}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/operations.md has no row of {variable}"));
        let default = argument.get_default_values().first().and_then(|default| default.to_str());
        let fallback = if argument.is_required_set() { "required" } else { "optional" };
        let expected = default.unwrap_or(fallback);
        // Where the default is another for each service, it stands in the table of services.
        let services = row.contains("(#services)");
        let of_service = format!("| `{}` | `{expected}` |", service.get_name());
        assert!(
            row.contains(expected) || services && document.contains(&of_service),
            "{}: {variable} is {default:?} or {fallback}: {row}",
            service.get_name()
        );
        known.insert(variable.to_owned());
    }
    let documented = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    for (name, _) in
        documented.filter(|(name, _)| name.chars().all(|it| it.is_ascii_uppercase() || it == '_'))
    {
        assert!(known.contains(name), "docs/operations.md has {name}, which no service reads");
    }
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn names_a_type(code: &str) -> bool {
    code.starts_with(|first: char| first.is_ascii_uppercase())
        && code.chars().all(|character| character.is_ascii_alphanumeric())
        && code.chars().any(|character| character.is_ascii_lowercase())
}

fn names_a_test(code: &str) -> bool {
    let word =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    code.chars().all(word) && code.matches('_').count() >= UNDERSCORES_OF_A_TEST && !code.starts_with(METRIC)
}

/// The documents that people write, by their paths below the root.
fn documents() -> Vec<String> {
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let folders = FOLDERS.map(|folder| root().join(folder)).into_iter().filter(|folder| folder.exists());
    let files = folders.flat_map(|folder| entries(&folder));
    let documents = files.filter(markdown).map(|path| {
        let path = path.strip_prefix(root()).expect("below the root");
        path.to_str().expect("text").to_owned()
    });
    documents.collect()
}

/// Every Rust file of the workspace, one after the other.
fn sources() -> String {
    let mut folders = ["crates", "services", "tests", "tools"].map(|name| root().join(name)).to_vec();
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(path).expect("readable");
            }
        }
    }
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

pub(crate) fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
