//! Those who place orders meanwhile: at a given rate whether or not they are answered, with good cards and bad, some
//! of whom change their minds, and all of whom ask again under the same key until they are answered.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use audit::Recorded;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a customer asks again who is not answered, or answered 5xx or 429.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(100);
/// Orders are placed in ticks, each of as many as are due.
const TICK: Duration = Duration::from_millis(10);
/// The last of them are scarce.
const SKUS: u32 = 40;
const SCARCE_SKUS: u32 = 4;
const PLENTY: i64 = 1_000_000;
const SCARCE: i64 = 500;
/// How late customers change their minds, at the most.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

/// A SKU that never runs out.
pub(super) const PLENTIFUL: &str = "CHAOS-00";

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct LoadResult {
    /// What was answered 202.
    pub(super) taken: Vec<Recorded>,
    /// How often each other answer came, and none, after all patience.
    pub(super) refused: BTreeMap<String, u64>,
    /// How many cancels were accepted.
    pub(super) cancelled: u64,
}

/// A customer's whole intention.
struct PlaceOrder {
    key: String,
    body: Value,
    twice: bool,
    cancels_after: Option<Duration>,
}

/// Where orders are placed.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    http: Client,
    orders: String,
}

impl Counter {
    pub(super) fn new(order_url: &str) -> Result<Self> {
        let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, orders: format!("{order_url}/api/v1/orders") })
    }

    /// Places an order under a key, again and again until it is answered; or says why not.
    pub(super) async fn place(
        &self,
        key: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<Recorded, String> {
        #[derive(Deserialize)]
        struct Placed {
            id: String,
        }
        let end = Instant::now() + patience;
        loop {
            let sent = self.http.post(&self.orders).header("Idempotency-Key", key).json(body).send().await;
            let why = match sent {
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    match response.json::<Placed>().await {
                        Ok(placed) => return Ok(Recorded { key: key.to_owned(), order_id: placed.id }),
                        Err(_) => "no answer".to_owned(),
                    }
                }
                Ok(response) if !passes(response.status()) => return Err(response.status().to_string()),
                Ok(response) => response.status().to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() > end {
                return Err(why);
            }
            sleep(AGAIN).await;
        }
    }

    /// Cancels an order; whether that was accepted.
    async fn cancel(&self, id: &str) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.http.post(format!("{}/{id}/cancel", self.orders)).send().await {
                // 409 is an answer here: it is completed.
                Ok(response) if response.status() == StatusCode::CONFLICT => return false,
                Ok(response) if !passes(response.status()) => return response.status().is_success(),
                _ if Instant::now() > end => return false,
                _ => sleep(AGAIN).await,
            }
        }
    }

    /// The order's status, when it is answered.
    pub(super) async fn status(&self, id: &str) -> Option<String> {
        let answer = self.http.get(format!("{}/{id}", self.orders)).send().await.ok()?;
        let order: Value = answer.json().await.ok()?;
        Some(order["status"].as_str()?.to_owned())
    }
}

/// Whether it may be answered differently later: 429 and 5xx, and 409 while the first request of a key is at work.
fn passes(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::CONFLICT
}

/// Lists the products and fills the shelves.
pub(super) async fn seed_stock(inventory_url: &str) -> Result<()> {
    let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
    for number in 0..SKUS {
        let product = format!("{inventory_url}/api/v1/products/{}", sku(number));
        let listing =
            json!({"name": sku(number), "price": {"amount_minor": 990 + number, "currency": "EUR"}});
        let quantity = if number < SKUS - SCARCE_SKUS { PLENTY } else { SCARCE };
        for request in [
            http.put(&product).json(&listing),
            http.post(format!("{product}/restock")).json(&json!({"quantity": quantity})),
        ] {
            let answer = request.send().await.context("inventory does not answer")?;
            ensure!(answer.status().is_success(), "{product}: {}", answer.status());
        }
    }
    Ok(())
}

/// Orders come at `rate` a second times the pace, until the pace is 0; then those in hand are waited for.
pub(super) async fn come(
    counter: Counter,
    rate: f64,
    mut pace: watch::Receiver<f64>,
    seed: u64,
) -> LoadResult {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut told, mut requests) = (LoadResult::default(), JoinSet::new());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut due, mut last) = (0.0, Instant::now());
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let pace = *pace.borrow_and_update();
        if pace == 0.0 {
            break;
        }
        due += rate * pace * (now - last).as_secs_f64();
        last = now;
        while due >= 1.0 {
            due -= 1.0;
            requests.spawn(serve(counter.clone(), command(&mut random)));
        }
        while let Some(Ok(served)) = requests.try_join_next() {
            told.note(served);
        }
    }
    while let Some(served) = requests.join_next().await {
        served.into_iter().for_each(|served| told.note(served));
    }
    told
}

fn sku(number: u32) -> String {
    format!("CHAOS-{number:02}")
}

/// The next customer's command.
fn command(random: &mut StdRng) -> PlaceOrder {
    let method = match random.random_range(0..100) {
        0..5 => "pm_card_declined",
        5..10 => "pm_insufficient_funds",
        10..15 => "pm_capture_fails",
        15..18 => "pm_timeout_once",
        18..21 => "pm_charged_then_timeout",
        _ => "pm_card_visa",
    };
    let lines: BTreeMap<String, u32> = (0..random.random_range(1..=3))
        .map(|_| (sku(random.random_range(0..SKUS)), random.random_range(1..=3)))
        .collect();
    let lines: Vec<_> =
        lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    let second_thoughts = random.random_range(0..=SECOND_THOUGHTS.as_millis());
    let cancels = random.random_bool(0.08);
    PlaceOrder {
        key: uuid(random),
        body: json!({
            "customer": {"id": "chaos", "email": "chaos@example.com"}, "lines": lines, "payment_method": method,
        }),
        twice: random.random_bool(0.05),
        cancels_after: cancels.then(|| Duration::from_millis(second_thoughts.try_into().unwrap_or_default())),
    }
}

fn uuid(random: &mut StdRng) -> String {
    format!("{:032x}", random.random::<u128>())
}

type Served = (Vec<Result<Recorded, String>>, bool);

async fn serve(counter: Counter, command: PlaceOrder) -> Served {
    let place = || counter.place(&command.key, &command.body, PATIENCE);
    let answers = if command.twice {
        let (first, second) = tokio::join!(place(), place());
        vec![first, second]
    } else {
        vec![place().await]
    };
    let (Some(after), Some(Ok(taken))) = (command.cancels_after, answers.first()) else {
        return (answers, false);
    };
    sleep(after).await;
    let cancelled = counter.cancel(&taken.order_id).await;
    (answers, cancelled)
}

impl LoadResult {
    fn note(&mut self, (answers, cancelled): Served) {
        self.cancelled += u64::from(cancelled);
        for answer in answers {
            match answer {
                Ok(taken) => self.taken.push(taken),
                Err(why) => *self.refused.entry(why).or_default() += 1,
            }
        }
    }
}
