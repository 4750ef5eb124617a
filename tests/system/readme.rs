//! The orders of the README are answered as it says.

use std::process::{Output, Stdio};
use system::Service;

use crate::documents::read;
use crate::shop::Shop;
use chrono::DateTime;
use contracts::OrderId;
use serde_json::{Value, json};
use testkit::{DEADLINE, eventually};
use tokio::process::Command;
use tokio::time::timeout;

/// The section whose blocks are run: a command, then its answer, and so on.
const SECTION: &str = "\n## Five orders\n";
/// Printed after each command, to part the answers.
const END: &str = "-- end of the answer --";

#[tokio::test(flavor = "multi_thread")]
async fn readme_orders_get_the_documented_responses() {
    let shop = Shop::open_with(&[("DEMO_CATALOGUE", "true")]).await;
    demo_prices_are_known(&shop).await;
    let examples = examples(&read("README.md"));
    assert_eq!(examples.len(), 5, "five orders");

    let commands: Vec<_> =
        examples.iter().map(|(command, _)| format!("{command}\necho\necho '{END}'\n")).collect();
    let output = run_in_bash(&against(&shop, &commands.concat())).await;
    let printed = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<_> = printed.split(END).collect();
    assert_eq!(answers.len(), examples.len() + 1, "{printed}");
    for ((command, promised), answer) in examples.iter().zip(answers) {
        assert_eq!(normalised(answer), normalised(promised), "{command}\nanswered: {answer}");
    }
    shop.check().await;
}

#[test]
fn responses_are_compared_except_for_ids_and_times() {
    let check = |left: &str, right: &str, same: bool| {
        assert_eq!(normalised(left) == normalised(right), same, "{left} and {right}");
    };
    check(
        r#"{"id": "01a1fa31-0f33-7311-8358-fd3d3dfec370", "at": "2026-11-20T18:21:21.5Z", "status": "pending"}"#,
        r#"{"status":"pending","at":"2027-01-01T00:00:00Z","id":"01b00000-0000-7000-8000-000000000000"}"#,
        true,
    );
    check(r#"{"status": "pending"}"#, r#"{"status": "completed"}"#, false);
    check("stock.reserved\npayment.authorized", "payment.authorized\nstock.reserved\n", true);
    check("stock.reserved", "stock.reserved\nstock.reserved", false);
}

/// The commands of the section with the answers that follow them.
fn examples(readme: &str) -> Vec<(String, String)> {
    let (_, section) = readme.split_once(SECTION).expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks: Vec<_> = section.split("```").skip(1).step_by(2).collect();
    let pairs = blocks.chunks_exact(2).map(|pair| {
        let command = pair[0].strip_prefix("sh\n").expect("a command first");
        let (_, answer) = pair[1].split_once('\n').expect("then its answer");
        (command.to_owned(), answer.to_owned())
    });
    pairs.collect()
}

/// The script with the test's own addresses in place of the documented ones.
fn against(shop: &Shop, script: &str) -> String {
    let services = [
        ("localhost:8081", &shop[Service::Order]),
        ("localhost:8082", &shop[Service::Payment]),
        ("localhost:8083", &shop[Service::Inventory]),
        ("localhost:8084", &shop[Service::Notification]),
        ("localhost:8085", &shop[Service::Analytics]),
        ("localhost:8090", &shop.provider),
    ];
    services.iter().fold(script.to_owned(), |script, (documented, running)| {
        script.replace(documented, running.url.trim_start_matches("http://"))
    })
}

/// One shell for all, since an example may go on with another's variables.
async fn run_in_bash(script: &str) -> Output {
    let bash = Command::new("bash").args(["-c", script]).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(DEADLINE, bash).await.expect("the examples end in time").expect("bash runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", output.status);
    output
}

async fn demo_prices_are_known(shop: &Shop) {
    let (_, products) = shop[Service::Inventory].get("/api/v1/products").await;
    let listed = products["items"].as_array().expect("items").len();
    let pool = shop.pool("order").await;
    eventually("the prices of the demo catalogue", async || {
        let known: i64 =
            sqlx::query_scalar("select count(*) from prices").fetch_one(&pool).await.expect("counts");
        if usize::try_from(known) == Ok(listed) { Ok(()) } else { Err(known) }
    })
    .await;
}

/// JSON without what is new each time; other text as its lines in alphabetical order, since two services that
/// answer at the same time may do so in either.
fn normalised(answer: &str) -> Value {
    serde_json::from_str(answer).map(without_ids_and_times).unwrap_or_else(|_| {
        let mut lines: Vec<_> = answer.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.sort_unstable();
        json!(lines)
    })
}

fn without_ids_and_times(value: Value) -> Value {
    match value {
        Value::String(text) if DateTime::parse_from_rfc3339(&text).is_ok() => json!("a time"),
        Value::String(text) if serde_json::from_value::<OrderId>(json!(text)).is_ok() => json!("an id"),
        Value::Array(items) => items.into_iter().map(without_ids_and_times).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, without_ids_and_times(value))).collect()
        }
        other => other,
    }
}
