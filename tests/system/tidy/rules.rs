//! The rules, each a function from one file to its offences: where they are, and what to do about them.

use super::source::Source;

/// A rule that looks at one file at a time.
pub(super) type Rule = fn(&Source) -> Vec<String>;

/// Every rule with its name.
pub(super) const RULES: &[(&str, Rule)] = &[
    ("a domain is pure", domain_is_pure),
    ("SQL stays in the store", sql_stays_in_the_store),
    ("only amqp publishes", only_amqp_publishes),
    ("JSON from outside is read strictly", foreign_json_is_strict),
    ("no test sleeps", no_test_sleeps),
    ("nothing is left unfinished", nothing_is_left_unfinished),
    ("files are short", files_are_short),
];

const MAX_FILE_LINES: usize = 400;

/// What a domain must not name: it gets times, ids and chances as arguments, and does nothing itself.
const IMPURE: [&str; 15] = [
    "async",
    "await",
    "axum",
    "clock",
    "lapin",
    "messaging",
    "new_id",
    "new_v4",
    "now_v7",
    "rand",
    "reqwest",
    "runtime",
    "sqlx",
    "tokio",
    "SystemTime",
];

pub(super) fn domain_is_pure(source: &Source) -> Vec<String> {
    let in_domain =
        source.service().is_some_and(|(_, path)| path == "src/domain.rs" || path.starts_with("src/domain/"));
    if !in_domain || source.is_test() {
        return Vec::new();
    }
    offences(source, source.product_code(), |line| {
        let word = words(line).find(|word| IMPURE.contains(word));
        let word = word.or_else(|| line.contains("::now(").then_some("now"))?;
        Some(format!("a domain names `{word}`: take what it gives as an argument, and call it in the shell"))
    })
}

pub(super) fn sql_stays_in_the_store(source: &Source) -> Vec<String> {
    const SQL: [&str; 8] = [
        "query",
        "query_as",
        "query_file",
        "query_scalar",
        "query_unchecked",
        "raw_sql",
        "AssertSqlSafe",
        "QueryBuilder",
    ];
    let outside = source.service().is_some_and(|(_, path)| {
        path.starts_with("src/") && path != "src/store.rs" && !path.starts_with("src/store/")
    });
    if !outside {
        return Vec::new();
    }
    offences(source, source.code(), |line| {
        let calls =
            |name: &str| line.contains(&format!("sqlx::{name}")) || line.contains(&format!("{name}!("));
        let name = SQL.into_iter().find(|name| calls(name))?;
        Some(format!("SQL (`{name}`) outside the store: make it a function of src/store.rs"))
    })
}

pub(super) fn only_amqp_publishes(source: &Source) -> Vec<String> {
    if source.path.starts_with("crates/amqp/") || source.is_test() {
        return Vec::new();
    }
    offences(source, source.code(), |line| {
        words(line)
            .any(|word| word == "basic_publish")
            .then(|| "publishes past the outbox: return the event from the handler, as an effect".to_owned())
    })
}

pub(super) fn foreign_json_is_strict(source: &Source) -> Vec<String> {
    // What these read comes from the broker, or is their own.
    const EXCEPT: [&str; 3] = ["crates/amqp/", "crates/devstack/", "crates/strict-json/"];
    const LAX: [&str; 6] = [
        "json::from_slice",
        "json::from_str",
        "json::from_reader",
        "json::from_value",
        ".json().await",
        ".json::<",
    ];
    let reads = ["crates/", "services/"].iter().any(|folder| source.path.starts_with(folder))
        && !EXCEPT.iter().any(|folder| source.path.starts_with(folder));
    if !reads || source.is_test() {
        return Vec::new();
    }
    offences(source, source.product_code(), |line| {
        let name = LAX.into_iter().find(|name| line.contains(name) && !line.contains("strict_json"))?;
        Some(format!("`{name}` takes an array for a struct: use strict_json"))
    })
}

pub(super) fn no_test_sleeps(source: &Source) -> Vec<String> {
    let mut code = source.code();
    if !source.is_test() {
        code.drain(..source.product_code().len());
    }
    offences(source, code, |line| {
        let sleeps = words(line).any(|word| word == "sleep") && line.contains("sleep(");
        sleeps.then(|| "a test sleeps: wait for a condition with `testkit::eventually`".to_owned())
    })
}

pub(super) fn nothing_is_left_unfinished(source: &Source) -> Vec<String> {
    let macros = offences(source, source.code(), |line| {
        let name = ["todo!", "unimplemented!", "#[ignore"].into_iter().find(|name| line.contains(name))?;
        Some(format!("`{name}`: finish it, or take it out"))
    });
    // Written in two parts, so that this file does not offend.
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")];
    let lines = (1..).zip(source.text.lines().map(str::to_owned)).collect();
    let comments = offences(source, lines, |line| {
        let mark = marks.into_iter().find(|mark| words(line).any(|word| word == *mark))?;
        Some(format!("{mark}: do it now, or take it out"))
    });
    [macros, comments].concat()
}

pub(super) fn files_are_short(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= MAX_FILE_LINES {
        return Vec::new();
    }
    vec![format!("{}: {lines} lines; part it by theme, {MAX_FILE_LINES} at most", source.path)]
}

fn offences(
    source: &Source,
    lines: Vec<(usize, String)>,
    offence: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let found = lines.into_iter().filter_map(|(number, line)| Some((number, offence(&line)?)));
    found.map(|(number, what)| format!("{}:{number}: {what}", source.path)).collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
}
