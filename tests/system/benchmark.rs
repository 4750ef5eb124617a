//! The benchmark, at a rate that every machine holds: it counts what an order takes.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::environment::process::programs;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    bench: bench::Args,
}

async fn run(dir: &Path, arguments: &[&str]) -> (anyhow::Result<ExitCode>, Vec<String>) {
    let (data, out) = (dir.join("data").display().to_string(), dir.join("results").display().to_string());
    let arguments = ["bench", "--dir", &data, "--out", &out].into_iter().chain(arguments.iter().copied());
    let printed = Mutex::new(Vec::new());
    let print = |line: &str| printed.lock().expect("no panic").push(line.to_owned());
    let code = match Cli::try_parse_from(arguments) {
        Ok(cli) => bench::run(cli.bench, programs(), print).await,
        Err(error) => Err(error.into()),
    };
    (code, printed.into_inner().expect("no panic"))
}

#[tokio::test(flavor = "multi_thread")]
async fn benchmark_counts_the_cost_of_an_order() {
    let dir = devstack::temporary_folder().expect("a folder");
    let arguments = ["--hold", "6", "--from", "10", "--up-to", "10"];
    let (code, printed) = run(dir.path(), &arguments).await;
    assert_eq!(code.expect("it ends"), ExitCode::SUCCESS);
    let last = printed.last().expect("the path of the results");
    let text = std::fs::read_to_string(last).expect("the last line names the file");
    let results: Value = serde_json::from_str(&text).expect("JSON");

    let number = |path: &str| results.pointer(path).and_then(Value::as_f64).expect(path);
    let (rate, limit) = (number("/throughput/rate"), number("/limit/orders_per_second"));
    // On a machine with much else to do, less may be what is held.
    assert!(rate > 0.0 && rate <= 10.0, "{printed:#?}");
    assert!((number("/ratio") - rate / limit).abs() < 1e-9, "{text}");
    // One request and one mail; two calls to the processor; each event to its consumers and to the stream reader.
    for (path, expected) in [("placements", 1.0), ("mails", 1.0), ("calls", 2.0), ("deliveries", 16.0)] {
        let counted = number(&format!("/cost/{path}"));
        // A call may have to be made again, a message to be delivered again.
        assert!((counted - expected).abs() < 0.5, "{path} is {counted}, and not {expected}: {text}");
    }
    assert!(
        number("/cost/commits") > 5.0 && number("/cost/commits") < number("/cost/transactions"),
        "{text}"
    );
    let footprints = results["footprints"].as_array().expect("a list");
    assert_eq!(footprints.len(), 6);
    assert!(footprints.iter().all(|it| it["idle_mb"].as_f64() <= it["peak_mb"].as_f64()), "{footprints:#?}");
}

#[tokio::test]
async fn an_empty_search_range_is_refused() {
    let dir = TempDir::new().expect("a folder");
    let error = run(dir.path(), &["--from", "200", "--up-to", "100"]).await.0.expect_err("nothing to search");
    assert!(error.to_string().contains("--from 200 is above --up-to 100"), "{error:#}");
    assert!(run(dir.path(), &["--from", "0"]).await.0.is_err(), "a rate is above 0");
    assert!(run(dir.path(), &["--hold", "1"]).await.0.is_err(), "too short for anything");
    let too_short = run(dir.path(), &["--growth", "--hold", "29"]).await;
    let error = too_short.0.expect_err("too short for growth");
    assert!(error.to_string().contains("take 30 or more"), "{error:#}");
}

#[tokio::test]
async fn a_growth_run_that_fails_keeps_what_it_measured() {
    let dir = TempDir::new().expect("a folder");
    std::fs::write(dir.path().join("data"), "in the way").expect("a file where the folder is to be");
    let (code, printed) = run(dir.path(), &["--growth"]).await;
    let error = code.expect_err("no system can start there");
    assert!(error.to_string().contains("cannot remove"), "{error:#}");
    let file = dir.path().join("results.growth.json");
    assert_eq!(printed.last(), Some(&file.display().to_string()));
    let text = std::fs::read_to_string(file).expect("the results");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(results, json!({"history": [], "replicas": [], "backlog": null}));
}
