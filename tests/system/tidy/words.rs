//! The words of the project: `GLOSSARY.md` lists those that are out, and no file may use them.

use std::{fs, path::Path};

use super::source::root;

/// The document with the table of words.
const GLOSSARY: &str = "GLOSSARY.md";
/// The heading of that table.
const HEADING: &str = "\n## Words that are out\n";
/// What may use any word: it quotes them, or tells of the past.
const EXEMPT: [&str; 4] = ["CHANGELOG.md", GLOSSARY, "docs/journal/", "tests/system/tidy/words.rs"];
/// The files that hold words, by the ending of their names; in `scripts/` names have none.
const ENDINGS: [&str; 7] = ["rs", "md", "sql", "toml", "yml", "sh", "txt"];
/// What is generated, fetched or private.
const SKIPPED: [&str; 4] = [".git", ".sqlx", ".stack", "target"];

/// A row of the table.
struct Row {
    out: Vec<String>,
    say: String,
    allowed: Vec<String>,
}

#[test]
fn no_file_uses_a_word_that_is_out() {
    let rows = rows(&fs::read_to_string(root().join(GLOSSARY)).expect("the glossary"));
    assert!(rows.len() > 20, "the table is found");
    let mut files = Vec::new();
    collect(root(), &mut files);
    files.retain(|file| !EXEMPT.iter().any(|exempt| file.starts_with(exempt)));
    assert!(files.len() > 100, "the files are found");

    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(root().join(file)).expect("readable");
            found(&rows, &text).into_iter().map(move |(line, what)| format!("{file}:{line}: {what}"))
        })
        .collect();
    assert!(found.is_empty(), "\n{}\nsee {GLOSSARY}\n", found.join("\n"));
}

#[test]
fn only_whole_words_are_found() {
    let rows = rows(&format!(
        "{HEADING}\n| out | say | allowed |\n|---|---|---|\n| `hear`, `let in`, `announce*` | consume | |\n| `letter` | dead letter | `dead letter` |\n"
    ));
    for (text, lines) in [
        ("we hear it", vec![1]),
        ("fn hear_it() {}\nstruct Hear;\nstruct WeHear;", vec![1, 2, 3]),
        ("an announcement", vec![1]),
        ("who is let in\nis_let_in", vec![1, 2]),
        ("// who is let\n    // in", vec![1]),
        ("heartbeat; let in_time = 1; let input", vec![]),
        ("dead-letter, dead_letter, DeadLetter", vec![]),
        ("//! a dead\n//! letter", vec![]),
        ("a letter", vec![1]),
    ] {
        let found: Vec<_> = found(&rows, text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, lines, "{text}");
    }
}

/// The table in the glossary.
fn rows(glossary: &str) -> Vec<Row> {
    let (_, section) = glossary.split_once(HEADING).expect("the section");
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let mut cells = line.trim_matches('|').split('|');
        let mut cell = || cells.next().unwrap_or_default().trim();
        Row { out: quoted(cell()), say: cell().to_owned(), allowed: quoted(cell()) }
    });
    rows.collect()
}

/// Each word that is out, by its line, and what to say instead.
fn found(rows: &[Row], text: &str) -> Vec<(usize, String)> {
    let (text, starts) = normalised(text);
    let mut found = Vec::new();
    for row in rows {
        let text = row.allowed.iter().fold(text.clone(), |text, phrase| without(&text, phrase));
        for word in &row.out {
            let lines = places(&text, word).map(|at| starts.partition_point(|start| *start <= at));
            found.extend(lines.map(|line| (line, format!("`{word}`: say {}", row.say))));
        }
    }
    found.sort();
    found
}

/// The text as one line in lower case, without the marks of comments and with the parts of names told apart, and where
/// each of its lines begins.
fn normalised(text: &str) -> (String, Vec<usize>) {
    let (mut normalised, mut starts) = (String::with_capacity(text.len()), Vec::new());
    for line in text.lines() {
        starts.push(normalised.len());
        let line = line.trim().trim_start_matches(['/', '!', '#', '-', '*', '>']).trim_start();
        let mut after_lower = false;
        for character in line.chars() {
            if after_lower && character.is_ascii_uppercase() {
                normalised.push('_');
            }
            after_lower = character.is_ascii_lowercase();
            normalised.push(character.to_ascii_lowercase());
        }
        normalised.push(' ');
    }
    (normalised, starts)
}

/// The text with a phrase replaced by as many dots, however its words are joined.
fn without(text: &str, phrase: &str) -> String {
    let dots = ".".repeat(phrase.len());
    [" ", "_", "-"]
        .iter()
        .fold(text.to_owned(), |text, joint| text.replace(&phrase.replace(' ', joint), &dots))
}

/// Where a word or phrase stands as such, or as a part of a name.
fn places(text: &str, word: &str) -> impl Iterator<Item = usize> {
    let (word, any_ending) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
    let spoken = occurrences(text, word, any_ending, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // In a name a phrase is joined by underscores, and so is what stands before and after it.
    let named = occurrences(text, &word.replace(' ', "_"), any_ending, |byte| byte.is_ascii_alphanumeric());
    let is_phrase = word.contains(' ');
    named.into_iter().chain(spoken.into_iter().filter(move |_| is_phrase))
}

fn occurrences(text: &str, word: &str, any_ending: bool, joins: impl Fn(u8) -> bool) -> Vec<usize> {
    let bytes = text.as_bytes();
    let stands_alone = |at: &usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(at + word.len());
        !before.is_some_and(|byte| joins(*byte)) && (any_ending || !after.is_some_and(|byte| joins(*byte)))
    };
    text.match_indices(word).map(|(at, _)| at).filter(stands_alone).collect()
}

/// The paths of all files with words, below the root.
fn collect(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
            continue;
        }
        let file = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        let has_words = path.extension().is_some_and(|ending| ENDINGS.iter().any(|it| ending == *it));
        if has_words || file.starts_with("scripts/") || name == "Dockerfile" {
            files.push(file);
        }
    }
}
