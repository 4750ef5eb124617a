//! `sagactl load`: orders at a given rate, whether or not the system keeps up (open loop), and what became of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use audit::Recorded;
use contracts::PaymentMethod;
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::client::{self, Urls};
use crate::{say, timeline};

/// Products of its own, so that a load takes nobody else's stock.
const SKUS: u64 = 10;
const RESTOCK: u32 = 1_000_000;
/// Timelines are read for this many orders at the most, evenly spread.
const SAMPLE: usize = 5_000;
const READERS: usize = 16;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The arguments of `sagactl load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many orders to place
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    orders: u64,
    /// How many orders to place a second
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    rate: f64,
    /// How to pay
    #[arg(long, default_value_t = PaymentMethod::CardVisa)]
    payment_method: PaymentMethod,
    /// How long to wait for the last order to end, in seconds
    #[arg(long, default_value_t = 120)]
    wait: u64,
    /// Where to write what was answered 202, for `sagactl audit --recorded`: a line each, key and order id
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    urls: Urls,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 100_000.0 => Ok(rate),
        _ => Err("a rate is a number above 0 and up to 100000".to_owned()),
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    seed_stock(&http, &args.urls).await?;
    // The orders of one run are known by their customer.
    let customer = format!("load-{}", runtime::clock::new_id().simple());
    let begun = Instant::now();
    let sent = place_all(&http, &args, &customer).await?;
    if let Some(path) = &args.record {
        let lines: String =
            sent.taken.iter().map(|taken| format!("{} {}\n", taken.key, taken.order_id)).collect();
        std::fs::write(path, lines).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let ended = wait_for_the_end(&http, &args, &customer, sent.taken.len() as u64).await?;
    let took = begun.elapsed();
    let latencies = latencies(&http, &args.urls, &ended.ids).await?;
    report(&sent, &ended, took, &latencies);
    Ok(if ended.open == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sku(number: u64) -> String {
    format!("LOAD-{}", number % SKUS)
}

async fn seed_stock(http: &Client, urls: &Urls) -> Result<()> {
    for number in 0..SKUS {
        let product = format!("{}/api/v1/products/{}", urls.inventory_url, sku(number));
        let listing = json!({"name": "For load", "price": {"amount_minor": 1000, "currency": "EUR"}});
        let _: serde_json::Value = client::answer(http.put(&product).json(&listing)).await?;
        let restock = http.post(format!("{product}/restock")).json(&json!({"quantity": RESTOCK}));
        let _: serde_json::Value = client::answer(restock).await?;
    }
    // The prices travel to the order service as events.
    let probe = client::order("load", "load@example.com", &[(sku(SKUS - 1), 1)], "pm_card_visa");
    let end = Instant::now() + REQUEST_TIMEOUT;
    while client::send(http.post(format!("{}/api/v1/orders", urls.order_url)).json(&probe)).await?.status()
        != StatusCode::ACCEPTED
    {
        if Instant::now() > end {
            bail!("the order service does not take orders: see {}/health/ready", urls.order_url);
        }
        sleep_until(Instant::now() + LOOK_INTERVAL).await;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Sent {
    taken: Vec<Recorded>,
    refused: BTreeMap<String, u64>,
}

/// What was answered 202, from the lines of a file that `--record` wrote.
///
/// # Errors
/// Which line is not of that shape.
pub(crate) fn recorded(text: &str) -> Result<Vec<Recorded>> {
    let lines = text.lines().enumerate().map(|(index, line)| match line.split_once(' ') {
        Some((key, order_id)) => Ok(Recorded { key: key.to_owned(), order_id: order_id.to_owned() }),
        None => bail!("line {} is {line:?}, not a key and an order's id", index + 1),
    });
    lines.collect()
}

/// Sends each order at its time, however long the answers to those before it take.
async fn place_all(http: &Client, args: &Args, customer: &str) -> Result<Sent> {
    let progress = bar(args.orders, "placed");
    let url = format!("{}/api/v1/orders", args.urls.order_url);
    let begun = Instant::now();
    let mut requests = JoinSet::new();
    let mut sent = Sent::default();
    for number in 0..args.orders {
        #[expect(clippy::cast_precision_loss, reason = "ten million orders are far from where it matters")]
        let due = begun + Duration::from_secs_f64(number as f64 / args.rate);
        sleep_until(due).await;
        let order =
            client::order(customer, "load@example.com", &[(sku(number), 1)], args.payment_method.as_str());
        let key = args.record.as_ref().map(|_| runtime::clock::new_id().to_string());
        requests.spawn(place(http.post(&url).json(&order), key));
        while let Some(answered) = requests.try_join_next() {
            sent.count(answered?);
            progress.inc(1);
        }
    }
    while let Some(answered) = requests.join_next().await {
        sent.count(answered?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(sent)
}

#[derive(Deserialize)]
struct Placed {
    id: String,
}

/// Places an order, under a key if there is one; gives what was taken, or why not.
async fn place(request: RequestBuilder, key: Option<String>) -> Result<Recorded, String> {
    let no_answer = |_| "no answer".to_owned();
    let request = key.iter().fold(request, |request, key| request.header("Idempotency-Key", key));
    let response = request.send().await.map_err(no_answer)?;
    if response.status() != StatusCode::ACCEPTED {
        return Err(response.status().to_string());
    }
    let placed: Placed = response.json().await.map_err(no_answer)?;
    Ok(Recorded { key: key.unwrap_or_default(), order_id: placed.id })
}

impl Sent {
    fn count(&mut self, answered: Result<Recorded, String>) {
        match answered {
            Ok(taken) => self.taken.push(taken),
            Err(why) => *self.refused.entry(why).or_default() += 1,
        }
    }
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

/// Waits until every order is completed, or cancelled and settled. A service that does not answer meanwhile may be one
/// that was killed, and comes back.
async fn wait_for_the_end(http: &Client, args: &Args, customer: &str, accepted: u64) -> Result<Ended> {
    let progress = bar(accepted, "ended");
    let end = Instant::now() + Duration::from_secs(args.wait);
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let late = Instant::now() > end;
        match looked_when_all_ended(http, args, customer, late).await {
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

/// Cheap while many are on their way: the whole list is looked at only once none is, or when it is late.
async fn looked_when_all_ended(
    http: &Client,
    args: &Args,
    customer: &str,
    late: bool,
) -> Result<Option<Ended>> {
    let under_way =
        any(http, args, customer, "pending").await? || any(http, args, customer, "confirmed").await?;
    if under_way && !late {
        return Ok(None);
    }
    look(http, args, customer).await.map(Some)
}

async fn any(http: &Client, args: &Args, customer: &str, status: &str) -> Result<bool> {
    let query = [("customer_id", customer), ("status", status), ("limit", "1")];
    let request = http.get(format!("{}/api/v1/orders", args.urls.order_url)).query(&query);
    let page: Page = client::answer(request).await?;
    Ok(!page.items.is_empty())
}

async fn look(http: &Client, args: &Args, customer: &str) -> Result<Ended> {
    let mut ended = Ended::default();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("customer_id", customer), ("limit", "200")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let request = http.get(format!("{}/api/v1/orders", args.urls.order_url)).query(&query);
        let page: Page = client::answer(request).await.context("the orders cannot be listed")?;
        for order in page.items {
            let closed = order.status == "completed" || order.settled;
            ended.open += u64::from(!closed);
            let state =
                order.reason.map_or(order.status.clone(), |reason| format!("{} ({reason})", order.status));
            *ended.by_state.entry(state).or_default() += 1;
            ended.ids.push(order.id);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(ended);
        }
    }
}

/// From placed to confirmed, in ms, of an even sample of the orders, sorted.
async fn latencies(http: &Client, urls: &Urls, ids: &[String]) -> Result<Vec<f64>> {
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

fn report(sent: &Sent, ended: &Ended, took: Duration, latencies: &[f64]) {
    for (state, count) in &ended.by_state {
        say(&format!("{count:>8}  {state}"));
    }
    for (status, count) in &sent.refused {
        say(&format!("{count:>8}  not taken: {status}"));
    }
    if ended.open > 0 {
        say(&format!("{:>8}  of them still under way", ended.open));
    }
    #[expect(clippy::cast_precision_loss, reason = "ten million orders are far from where it matters")]
    let per_second = (ended.ids.len() as u64 - ended.open) as f64 / took.as_secs_f64();
    say(&format!("{per_second:>8.1}  orders/s through the whole saga, in {:.1} s", took.as_secs_f64()));
    let [p50, p95, p99] = [50, 95, 99].map(|percent| percentile(latencies, percent));
    say(&format!(
        "placed to confirmed: p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms ({} orders)",
        latencies.len()
    ));
}

/// The nearest-rank percentile of sorted values; not a number when there are none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    loadgen::percentile::percentile(sorted, percent).unwrap_or(f64::NAN)
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

    use axum::{Json, Router};
    use clap::Parser;
    use serde_json::Value;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        for (percent, expected) in [(50, 100.0), (95, 190.0), (99, 198.0), (100, 200.0)] {
            assert!((percentile(&values, percent) - expected).abs() < f64::EPSILON, "p{percent}");
        }
        assert!((percentile(&[7.0], 99) - 7.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn what_was_recorded_is_read_again_and_anything_else_is_refused() {
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
            ended = wait_for_the_end(&http, &args, "ada", 1) => ended,
            served = serving => panic!("the server ended: {served:?}"),
        };
        assert_eq!(left.lock().expect("no panic").len(), 0, "all are asked for");
        ended
    }

    fn away() -> (StatusCode, Value) {
        (StatusCode::SERVICE_UNAVAILABLE, json!({"title": "Not now", "detail": "no database"}))
    }

    fn page(items: &Value) -> (StatusCode, Value) {
        (StatusCode::OK, json!({"items": items, "next_cursor": null}))
    }

    #[tokio::test]
    async fn a_service_that_is_away_for_a_while_is_waited_for() {
        let none = || page(&json!([]));
        let one = page(&json!([{"id": "1", "status": "completed", "settled": false}]));
        let answers = vec![away(), none(), away(), none(), none(), one];
        let ended = waited("60", answers).await.expect("it came back");
        assert_eq!((ended.ids, ended.open), (vec!["1".to_owned()], 0));
    }

    #[tokio::test]
    async fn a_service_that_stays_away_is_told_of_with_its_reason() {
        let error = waited("0", vec![away()]).await.expect_err("away");
        assert_eq!(error.to_string(), "answered 503 Service Unavailable: Not now: no database");
    }

    #[test]
    fn a_rate_is_above_nothing() {
        assert!(rate("0.5").is_ok());
        for text in ["0", "-1", "NaN", "fast", "1e9"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
