//! No second list of the services: what names most of them within a few lines is to be derived from the table in
//! `crates/system`, or generated.

use std::collections::BTreeSet;
use std::fs;

use system::Service;

use super::source::{root, tracked_files};

/// So many services named so close together are a list.
const MANY: usize = 4;
const LINES: usize = 6;

/// Files that name most services for another reason.
const OTHERWISE: [(&str, &str); 13] = [
    ("ARCHITECTURE.md", "tells the life of an order"),
    ("CHANGELOG.md", "tells what was"),
    ("Cargo.toml", "declares the crates"),
    ("README.md", "draws the life of an order"),
    ("crates/system/src/table.rs", "is the table"),
    ("docs/performance.md", "gives measured figures of each"),
    ("tests/simulation/services.rs", "models each by itself; the compiler asks for a new one"),
    ("tests/system/http/bad_input.rs", "has routes of each by itself"),
    ("tests/system/http/lists.rs", "has routes of each by itself"),
    ("tests/system/readme.rs", "knows the README's URLs"),
    ("tests/system/statements.rs", "gives each messages of its own"),
    ("tests/system/tidy/lists.rs", "injects a list"),
    ("tools/audit/src/snapshot.rs", "has a query of its own for the database of each"),
];

/// The numbers of the lines where a list begins.
fn lists(text: &str) -> Vec<usize> {
    let named: Vec<BTreeSet<Service>> = text.lines().map(services_of).collect();
    let mut found = Vec::new();
    let mut next = 0;
    for (index, lines) in named.windows(LINES.min(named.len()).max(1)).enumerate() {
        if index >= next && lines.iter().flatten().collect::<BTreeSet<_>>().len() >= MANY {
            found.push(index + 1);
            next = index + LINES;
        }
    }
    found
}

/// The services that a line names as such: `order`, and not `order.placed` or `services/order`.
fn services_of(line: &str) -> BTreeSet<Service> {
    let part = |character: char| character.is_alphanumeric() || "_-./:".contains(character);
    let words = line.split(|character| !part(character));
    words
        .filter_map(|word| {
            let variant = word.rsplit_once("Service::").map(|(_, variant)| variant.to_lowercase());
            variant.as_deref().unwrap_or(word).parse().ok()
        })
        .collect()
}

#[test]
fn services_are_listed_in_one_place() {
    let generated = ctl::generate::files(root()).expect("the files can be made");
    let mut broken = Vec::new();
    let mut needless: BTreeSet<_> = OTHERWISE.iter().map(|(path, _)| *path).collect();
    for path in tracked_files() {
        let skipped =
            path.ends_with(".lock") || path.starts_with(".sqlx/") || path.starts_with("docs/journal/");
        if skipped || generated.iter().any(|(generated, _)| generated.to_str() == Some(path.as_str())) {
            continue;
        }
        // What is not text lists nothing.
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        let found = lists(&text);
        if found.is_empty() || needless.remove(path.as_str()) {
            continue;
        }
        if !OTHERWISE.iter().any(|(allowed, _)| *allowed == path) {
            broken.extend(found.iter().map(|line| format!("{path}:{line}")));
        }
    }
    assert!(broken.is_empty(), "derive it from system::Service, or generate it:\n{}", broken.join("\n"));
    for path in needless {
        assert!(
            ["Cargo.toml", "CHANGELOG.md", "crates/system/src/table.rs"].contains(&path),
            "{path} lists no services"
        );
    }
}

#[test]
fn injected_list_is_found() {
    assert_eq!(lists(r#"const ALL: [&str; 4] = ["order", "payment", "inventory", "analytics"];"#), [1]);
    assert_eq!(lists("services:\n  - order\n  - payment\n  - inventory\n  - notification\n"), [1]);
    let variants = "match it {\n    Service::Order => 1,\n    Service::Payment => 2,\n    \
                    Service::Inventory => 3,\n    Service::Analytics => 4,\n}";
    assert_eq!(lists(variants), [1]);
    assert_eq!(lists("order and payment, then inventory"), [0; 0]);
    assert_eq!(
        lists("order.placed, payment.captured, services/inventory, notification_id, analytics:"),
        [0; 0]
    );
}
