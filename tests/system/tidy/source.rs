//! The project's sources as the rules see them: paths below the root, and code without comments and literals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path below the root.
    pub(super) path: String,
    /// What stands in it.
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines that are compiled, numbered from 1, with comments and literals blanked.
    pub(super) fn code(&self) -> Vec<(usize, String)> {
        (1..).zip(code_of(&self.text).lines().map(str::to_owned)).collect()
    }

    /// The same without the module of tests at the end.
    pub(super) fn product_code(&self) -> Vec<(usize, String)> {
        let mut code = self.code();
        let tests = code.iter().position(|(_, line)| line.trim() == "#[cfg(test)]");
        code.truncate(tests.unwrap_or(usize::MAX));
        code
    }

    /// Whether the file holds tests and nothing else.
    pub(super) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The service it belongs to, if it does, and its path below the service's folder.
    pub(super) fn service(&self) -> Option<(&str, &str)> {
        self.path.strip_prefix("services/")?.split_once('/')
    }
}

/// The root of the project.
pub(super) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every Rust file of the project.
pub(super) fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["crates", "services", "tests", "tools"] {
        collect(&root().join(folder), &mut files);
    }
    files
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            Source { text: fs::read_to_string(&file).expect("readable"), path }
        })
        .collect()
}

/// The files that git knows, below the root.
pub(super) fn tracked_files() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    let names = String::from_utf8(listed.stdout).expect("names in UTF-8");
    let names: Vec<_> = names.split_terminator('\0').map(str::to_owned).collect();
    assert!(names.len() > 100, "the files are found");
    names
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What cargo says of the workspace's packages.
pub(super) fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// The text with comments and the insides of string and character literals replaced by spaces; lines stay.
pub(super) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, hidden) = token(rest, first);
        let (token, after) = rest.split_at(kept + hidden);
        code.push_str(&token[..kept]);
        code.extend(token[kept..].chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// The bytes at the start of `rest` that are kept, and those behind them that are hidden.
fn token(rest: &str, first: char) -> (usize, usize) {
    let until =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, until(2, "*/"));
    }
    if first == '"' {
        return (0, quoted(rest));
    }
    if first == 'r' && (rest.starts_with("r\"") || rest.starts_with("r#")) {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if rest[1 + hashes..].starts_with('"') {
            return (0, until(hashes + 2, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    if first == '\'' {
        return (0, character(rest).unwrap_or(1));
    }
    // A whole word, so that the `r` at its end does not look like the start of a raw string.
    let word = rest.find(|character: char| !character.is_alphanumeric() && character != '_');
    (word.unwrap_or(rest.len()).max(first.len_utf8()), 0)
}

/// The length of the string literal at the start.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the character literal at the start; none for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest.chars().skip(1);
    let (first, second) = (inside.next()?, inside.next()?);
    if first == '\\' {
        return rest[3..].find('\'').map(|at| at + 4);
    }
    (second == '\'').then(|| first.len_utf8() + 2)
}
