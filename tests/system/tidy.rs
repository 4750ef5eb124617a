//! The rules of the architecture that the compiler does not keep. Each says what to do when it is broken, and each
//! is shown to find an injected violation.

mod lists;
mod rules;
mod source;
mod words;

use serde_json::{Value, json};

use crate::tidy::rules::{
    RULES, Rule, domain_is_pure, files_are_short, foreign_json_is_strict, no_test_sleeps,
    nothing_is_left_unfinished, only_amqp_publishes, sql_stays_in_the_store,
};
use crate::tidy::source::{Source, code_of, packages, sources};

/// Names that say nothing of what is in a crate, and so gather everything.
const EMPTY_NAMES: [&str; 6] = ["common", "core", "helper", "helpers", "shared", "utils"];
/// The client library of the broker is known to amqp, and to the tests that play broken clients.
const MAY_USE_LAPIN: [&str; 2] = ["amqp", "testkit"];

#[test]
fn every_file_keeps_the_rules() {
    let sources = sources();
    assert!(sources.len() > 50, "the sources are found");
    let broken: Vec<String> = RULES
        .iter()
        .flat_map(|(name, rule)| {
            sources.iter().flat_map(rule).map(move |offence| format!("{name}: {offence}"))
        })
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_crate_keeps_the_rules() {
    let packages = packages();
    assert!(packages.len() > 10, "the packages are found");
    let broken = crates_broken(&packages);
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Failpoints are behind a feature that only chaos runs and tests turn on.
#[test]
fn no_release_contains_fault_injection() {
    for package in packages() {
        let default = package["features"]["default"].as_array().cloned().unwrap_or_default();
        assert!(default.is_empty(), "{}: {default:?} would be in every release", package["name"]);
    }
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    for build in ["Dockerfile", "scripts/up"] {
        let text = std::fs::read_to_string(format!("{root}/{build}")).expect(build);
        assert!(text.contains("cargo build") && !text.contains("feature"), "{build} builds with features");
    }
}

#[test]
fn every_event_has_a_consumer_or_is_record_only() {
    let unconsumed = system::unconsumed();
    assert!(
        unconsumed.is_empty(),
        "no service consumes {unconsumed:?}: subscribe to them in crates/system, or mark them record_only in crates/contracts"
    );
}

#[test]
fn injected_violation_of_a_rule_is_found() {
    let domain = "services/order/src/domain.rs";
    finds(domain_is_pure, domain, "let now = Utc::now();");
    finds(domain_is_pure, domain, "pub async fn react() {}");
    finds(domain_is_pure, "services/order/src/domain/parts.rs", "use sqlx::PgPool;");
    passes(domain_is_pure, domain, "// no sqlx here\nfn react(now: DateTime<Utc>) {}");
    passes(domain_is_pure, "services/order/src/domain/tests.rs", "use rand::random;");
    passes(domain_is_pure, "services/order/src/jobs.rs", "use sqlx::PgPool;");

    finds(sql_stays_in_the_store, "services/order/src/http.rs", "sqlx::query!(\"select 1\")");
    finds(sql_stays_in_the_store, "services/order/src/jobs.rs", "query_scalar!(\"select 1\")");
    passes(sql_stays_in_the_store, "services/order/src/store/prices.rs", "sqlx::query!(\"select 1\")");

    finds(only_amqp_publishes, "services/order/src/jobs.rs", "channel.basic_publish(exchange)");
    passes(only_amqp_publishes, "crates/amqp/src/publisher.rs", "channel.basic_publish(exchange)");

    finds(foreign_json_is_strict, "services/x/src/http.rs", "let it: T = serde_json::from_slice(body)?;");
    finds(foreign_json_is_strict, "crates/x/src/lib.rs", "response.json::<T>().await");
    passes(foreign_json_is_strict, "services/x/src/http.rs", "let it: T = strict_json::from_slice(body)?;");
    passes(foreign_json_is_strict, "services/x/src/tests.rs", "serde_json::from_slice(body)");

    finds(no_test_sleeps, "tests/system/saga.rs", "tokio::time::sleep(second).await;");
    finds(no_test_sleeps, "crates/x/src/lib.rs", "fn f() {}\n#[cfg(test)]\nmod tests { thread::sleep(s); }");
    passes(no_test_sleeps, "crates/x/src/lib.rs", "fn f() { sleep(pause) }\n#[cfg(test)]\nmod tests {}");

    finds(nothing_is_left_unfinished, "crates/x/src/lib.rs", "fn f() { todo!() }");
    finds(nothing_is_left_unfinished, "crates/x/src/lib.rs", concat!("// FIX", "ME later"));
    finds(nothing_is_left_unfinished, "tests/system/saga.rs", "#[ignore]");
    passes(nothing_is_left_unfinished, "crates/x/src/lib.rs", "let s = \"todo!\";");
}

#[test]
fn too_long_file_is_found() {
    finds(files_are_short, "crates/x/src/lib.rs", &"\n".repeat(401));
    passes(files_are_short, "crates/x/src/lib.rs", &"\n".repeat(400));
}

#[test]
fn injected_crate_that_breaks_a_rule_is_found() {
    let package = |name: &str, folder: &str, dependency: &str| {
        json!({
            "name": name,
            "manifest_path": format!("/x/{folder}/{name}/Cargo.toml"),
            "dependencies": [{"name": dependency}],
        })
    };
    let order = package("order", "services", "events");
    assert_eq!(crates_broken(&[order.clone(), package("shop", "crates", "order")]), [""; 0]);
    for injected in [
        package("payment", "services", "order"),
        package("payment", "services", "lapin"),
        package("utils", "crates", "serde"),
    ] {
        assert_eq!(crates_broken(&[order.clone(), injected.clone()]).len(), 1, "{injected}");
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "a // b\nc /* d\n */ e \"f\\\"g\" 'h' '\\'' r#\"i\"j\"# k<'l>(r)";
    let code = code_of(text);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), "a c e k< l>(r)");
    assert_eq!(code.lines().count(), text.lines().count());
}

#[track_caller]
fn finds(rule: Rule, path: &str, text: &str) {
    assert_eq!(rule(&Source::new(path, text)).len(), 1, "{path}: {text}");
}

#[track_caller]
fn passes(rule: Rule, path: &str, text: &str) {
    assert_eq!(rule(&Source::new(path, text)), [""; 0], "{path}: {text}");
}

/// What is wrong with the crates' names and with what they depend on.
fn crates_broken(packages: &[Value]) -> Vec<String> {
    let name = |package: &Value| package["name"].as_str().expect("a name").to_owned();
    let is_service =
        |package: &&Value| package["manifest_path"].as_str().expect("a path").contains("/services/");
    let services: Vec<String> = packages.iter().filter(is_service).map(name).collect();
    let mut broken = Vec::new();
    for package in packages {
        let this = name(package);
        if EMPTY_NAMES.contains(&this.as_str()) {
            broken.push(format!("crate {this}: name it after what it is for"));
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let (needed, is_test_only) = (name(dependency), dependency["kind"] == "dev");
            if is_service(&package) && services.contains(&needed) {
                broken.push(format!("{this} depends on the service {needed}: consume an event instead"));
            }
            if needed == "lapin" && !is_test_only && !MAY_USE_LAPIN.contains(&this.as_str()) {
                broken.push(format!("{this} depends on lapin: use what amqp offers, or add it there"));
            }
        }
    }
    broken
}
