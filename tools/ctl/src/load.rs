//! `sagactl load`: orders at a given rate, whether or not the system keeps up (open loop), and what became of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use audit::Recorded;
use contracts::PaymentMethod;
use devstack::print;
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use loadgen::{Accepted, Catalogue, Customers, LoadResult, percentile};
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use system::Service;

use crate::timeline;
use crate::urls::{Http, Urls};

const CATALOGUE: Catalogue = Catalogue { prefix: "LOAD", skus: 10, scarce: 0 };
/// Timelines are read of at most so many orders, evenly spread.
const SAMPLE: usize = 5_000;
const READERS: usize = 16;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many orders to place
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    orders: u64,
    /// How many orders to place a second
    #[arg(long, default_value_t = 100.0, value_parser = loadgen::rate)]
    rate: f64,
    /// How to pay
    #[arg(long, default_value = "pm_card_visa")]
    payment_method: PaymentMethod,
    /// How long to wait for the last order to end, in seconds
    #[arg(long, default_value_t = 120)]
    wait: u64,
    /// Where to write key and order id of each accepted order, for `sagactl audit --recorded`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    urls: Urls<Http>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let customers = Customers::new(vec![args.urls.of(Service::Order).to_owned()], Duration::ZERO)?;
    customers.seed_stock(args.urls.of(Service::Inventory), &CATALOGUE).await?;
    // One customer per run, by whom its orders are listed.
    let customer = format!("load-{}", runtime::clock::new_id().simple());
    let begun = Instant::now();
    let result = place_all(&customers, &args, &customer).await?;
    if let Some(path) = &args.record {
        let line = |accepted: &Accepted| format!("{} {}\n", accepted.key, accepted.order_id);
        let lines: String = result.accepted.iter().map(line).collect();
        std::fs::write(path, lines).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    let ended = wait_until_all_ended(&http, &args, &customer, result.accepted.len() as u64).await?;
    let took = begun.elapsed();
    let latencies = latencies(&http, &args.urls, &ended.ids).await?;
    report(&result, &ended, took, &latencies);
    Ok(if ended.open == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn place_all(customers: &Customers, args: &Args, customer: &str) -> Result<LoadResult> {
    let orders = loadgen::uniform(CATALOGUE, customer, args.payment_method.as_str())
        .take(usize::try_from(args.orders)?);
    let progress = bar(args.orders, "placed");
    let rate = watch::Sender::new(args.rate);
    let result = loadgen::drive(customers, orders, rate.subscribe(), || progress.inc(1)).await?;
    progress.finish_and_clear();
    Ok(result)
}

/// The accepted orders of a file that `--record` wrote.
pub(crate) fn recorded(text: &str) -> Result<Vec<Recorded>> {
    let lines = text.lines().enumerate().map(|(index, line)| match line.split_once(' ') {
        Some((key, order_id)) => Ok(Recorded { key: key.to_owned(), order_id: order_id.to_owned() }),
        None => bail!("line {} is {line:?}, not a key and an order id", index + 1),
    });
    lines.collect()
}

#[derive(Debug, Default)]
struct Ended {
    by_state: BTreeMap<String, u64>,
    ids: Vec<String>,
    open: u64,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Listed>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    status: String,
    reason: Option<String>,
    settled: bool,
}

/// Waits until every order is completed, or cancelled and settled. A service that does not answer meanwhile is waited
/// for: it may have been killed, and be on its way back.
async fn wait_until_all_ended(http: &Client, args: &Args, customer: &str, accepted: u64) -> Result<Ended> {
    let progress = bar(accepted, "ended");
    let end = Instant::now() + Duration::from_secs(args.wait);
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let late = Instant::now() > end;
        match look(http, args, customer, late).await {
            Ok(Some(ended)) if ended.open == 0 || late => {
                progress.finish_and_clear();
                return Ok(ended);
            }
            Ok(Some(ended)) => progress.set_position(accepted.saturating_sub(ended.open)),
            Err(error) if late => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
}

/// Reads the whole list only when no order is under way, or it is late: that is work for the service, too.
async fn look(http: &Client, args: &Args, customer: &str, late: bool) -> Result<Option<Ended>> {
    let under_way =
        any(http, args, customer, "pending").await? || any(http, args, customer, "confirmed").await?;
    if under_way && !late { Ok(None) } else { list(http, args, customer).await.map(Some) }
}

async fn any(http: &Client, args: &Args, customer: &str, status: &str) -> Result<bool> {
    let query = [("customer_id", customer), ("status", status), ("limit", "1")];
    Ok(!page(http, args, &query).await?.items.is_empty())
}

async fn page(http: &Client, args: &Args, query: &[(&str, &str)]) -> Result<Page> {
    let url = format!("{}/api/v1/orders", args.urls.of(Service::Order));
    loadgen::answer(http.get(url).query(query)).await
}

async fn list(http: &Client, args: &Args, customer: &str) -> Result<Ended> {
    let mut ended = Ended::default();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("customer_id", customer), ("limit", "200")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = page(http, args, &query).await.context("cannot list the orders")?;
        for Listed { id, status, reason, settled } in page.items {
            ended.open += u64::from(status != "completed" && !settled);
            let state = reason.map_or_else(|| status.clone(), |reason| format!("{status} ({reason})"));
            *ended.by_state.entry(state).or_default() += 1;
            ended.ids.push(id);
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(ended),
        }
    }
}

/// From placed to confirmed, in ms, of an even sample of the orders, sorted.
async fn latencies(http: &Client, urls: &Urls<Http>, ids: &[String]) -> Result<Vec<f64>> {
    let step = ids.len().div_ceil(SAMPLE).max(1);
    let timelines = stream::iter(ids.iter().step_by(step)).map(|id| timeline::fetch(http, urls, id));
    let timelines: Vec<_> = timelines.buffer_unordered(READERS).collect().await;
    let mut latencies = Vec::with_capacity(timelines.len());
    for timeline in timelines {
        let timeline = timeline?;
        let at = |event: &str| timeline.facts.iter().find(|fact| fact.event == event).map(|fact| fact.at);
        if let (Some(placed), Some(confirmed)) = (at("order.placed"), at("order.confirmed")) {
            latencies.push((confirmed - placed).as_seconds_f64() * 1000.0);
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

fn report(result: &LoadResult, ended: &Ended, took: Duration, latencies: &[f64]) {
    for (state, count) in &ended.by_state {
        print(&format!("{count:>8}  {state}"));
    }
    for (answer, count) in &result.refused {
        print(&format!("{count:>8}  not accepted: {answer}"));
    }
    if ended.open > 0 {
        print(&format!("{:>8}  of them still under way", ended.open));
    }
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "ten million orders are far from where it matters")]
    let per_second = (ended.ids.len() as u64 - ended.open) as f64 / seconds;
    print(&format!("{per_second:>8.1}  orders/s through the whole saga, in {seconds:.1} s"));
    let [p50, p95, p99] = [50, 95, 99].map(|percent| percentile(latencies, percent).unwrap_or(f64::NAN));
    print(&format!(
        "placed to confirmed: p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms ({} orders)",
        latencies.len()
    ));
}

fn bar(length: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>8} [{bar:40}] {pos}/{len} {per_sec}");
    let bar = ProgressBar::new(length).with_message(what.to_owned());
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::http::StatusCode;
    use axum::{Json, Router};
    use clap::Parser;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_bad_line_is_named() {
        let taken = Recorded { key: "k1".to_owned(), order_id: "o1".to_owned() };
        assert_eq!(recorded("k1 o1\n").expect("a line"), [taken]);
        let error = recorded("k1 o1\nnonsense\n").expect_err("no key");
        assert!(error.to_string().starts_with("line 2"), "{error}");
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        load: Args,
    }

    /// Waits for an order service that gives these answers, one after the other, and no more.
    async fn waited(wait: &str, answers: Vec<(StatusCode, Value)>) -> Result<Ended> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let args = Cli::parse_from(["load", "--wait", wait, "--order-url", &url]).load;
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let left = answers.clone();
        let next = async move || {
            let (status, body) = answers.lock().expect("no panic").pop_front().expect("one more answer");
            (status, Json(body))
        };
        let serving = axum::serve(listener, Router::new().fallback(next));
        let http = Client::new();
        let ended = tokio::select! {
            ended = wait_until_all_ended(&http, &args, "ada", 1) => ended,
            served = serving => panic!("the server ended: {served:?}"),
        };
        assert_eq!(left.lock().expect("no panic").len(), 0, "all of them are asked for");
        ended
    }

    fn unavailable() -> (StatusCode, Value) {
        (StatusCode::SERVICE_UNAVAILABLE, json!({"title": "Not now", "detail": "no database"}))
    }

    fn page(items: &Value) -> (StatusCode, Value) {
        (StatusCode::OK, json!({"items": items, "next_cursor": null}))
    }

    #[tokio::test]
    async fn a_service_that_is_unavailable_for_a_while_is_waited_for() {
        let none = || page(&json!([]));
        let one = page(&json!([{"id": "1", "status": "completed", "settled": false}]));
        let answers = vec![unavailable(), none(), unavailable(), none(), none(), one];
        let ended = waited("60", answers).await.expect("it came back");
        assert_eq!((ended.ids, ended.open), (vec!["1".to_owned()], 0));
    }

    #[tokio::test]
    async fn a_service_that_stays_unavailable_is_an_error() {
        let error = waited("0", vec![unavailable()]).await.expect_err("unavailable");
        assert_eq!(error.to_string(), "answered 503 Service Unavailable: Not now: no database");
    }
}
