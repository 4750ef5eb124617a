//! Load in an open loop, and what became of every order of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use devstack::{Replicas, System};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use system::Service;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::counters::urls;
use super::outcome::{Journey, Outcome};

/// Products that are ordered in turn.
pub(super) const SKUS: usize = 10;
const RESTOCK: u32 = 1_000_000;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Orders of which none gets to its end for so long, once no more are placed, never will.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Where orders are placed, and where it is seen what became of them.
#[derive(Debug)]
pub(super) struct Driver {
    http: Client,
    /// The order service and its replicas, which are asked in turn.
    order_urls: Vec<String>,
    inventory_url: String,
    orders: PgPool,
    mails: PgPool,
    facts: PgPool,
}

impl Driver {
    /// For a system with these further replicas of each service.
    pub(super) async fn open(system: &System, others: &[Replicas]) -> Result<Self> {
        let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        let database = async |service: Service| {
            PgPool::connect(&format!("{}/{service}", system.postgres.superuser_url())).await
        };
        Ok(Self {
            http,
            order_urls: urls(system, others, Service::Order.as_str()),
            inventory_url: system.url(Service::Inventory.as_str()),
            orders: database(Service::Order).await?,
            mails: database(Service::Notification).await?,
            facts: database(Service::Analytics).await?,
        })
    }

    /// Lists the products and fills the shelves, and waits until they can be ordered.
    pub(super) async fn seed_stock(&self) -> Result<()> {
        for number in 0..SKUS {
            let product = format!("{}/api/v1/products/{}", self.inventory_url, sku(number));
            let listing = json!({"name": "For load", "price": {"amount_minor": 1000, "currency": "EUR"}});
            accepted(self.http.put(&product).json(&listing)).await?;
            let restock = self.http.post(format!("{product}/restock")).json(&json!({"quantity": RESTOCK}));
            accepted(restock).await?;
        }
        let end = Instant::now() + REQUEST_TIMEOUT;
        while let Err(why) = place(self.request(SKUS - 1)).await {
            ensure!(Instant::now() < end, "no order is taken: {why}");
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    fn request(&self, number: usize) -> RequestBuilder {
        let url = &self.order_urls[number % self.order_urls.len()];
        self.http.post(format!("{url}/api/v1/orders")).json(&order("bench", number))
    }

    /// Places orders at a rate a second for so long, waits until all of them are at their end, and tells how each got
    /// there.
    pub(super) async fn drive(&self, rate: f64, duration: Duration) -> Result<Outcome> {
        let placed = self.place(rate, (rate * duration.as_secs_f64()).round() as usize).await?;
        self.finish(placed).await
    }

    /// Places orders at a rate a second, each at its time however long the answers take.
    pub(super) async fn place(&self, rate: f64, count: usize) -> Result<Placed> {
        let (begun, begun_at) = (Instant::now(), runtime::clock::now());
        let mut placed =
            Placed { rate, begun: begun_at, taken: Vec::with_capacity(count), refused: BTreeMap::new() };
        let mut requests = JoinSet::new();
        for number in 0..count {
            let offset = Duration::from_secs_f64(number as f64 / rate);
            sleep_until(begun + offset).await;
            let (request, due) = (self.request(number), begun_at + TimeDelta::from_std(offset)?);
            requests.spawn(async move { (due, place(request).await) });
            while let Some(answered) = requests.try_join_next() {
                placed.keep(answered?);
            }
        }
        while let Some(answered) = requests.join_next().await {
            placed.keep(answered?);
        }
        Ok(placed)
    }

    /// Waits until the orders are at their end, and tells how each got there.
    pub(super) async fn finish(&self, placed: Placed) -> Result<Outcome> {
        let journeys = self.journeys(&placed.taken).await?;
        Ok(Outcome::of(&journeys, placed))
    }

    /// How each order got to its end, as soon as all are there.
    async fn journeys(&self, taken: &[(Uuid, DateTime<Utc>)]) -> Result<Vec<Journey>> {
        let ids: Vec<Uuid> = taken.iter().map(|(id, _)| *id).collect();
        let mut progress = Progress::new();
        // To look at every order is work for Postgres, too: it waits until hardly any is under way.
        while self.any_under_way().await? {
            if progress.is_due() && progress.none_since_last(self.under_way().await?) {
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
        let mut progress = Progress::new();
        loop {
            let ways = self.ways(&ids).await?;
            let journeys: Vec<_> = taken
                .iter()
                .filter_map(|(id, due)| {
                    let way = ways.get(id)?;
                    Some(Journey {
                        due: *due,
                        confirmed: way.confirmed,
                        ended: way.ended?,
                        cancelled: way.cancelled,
                        whole: way.whole()?,
                    })
                })
                .collect();
            let open = taken.len() - journeys.len();
            if open == 0 {
                return Ok(journeys);
            }
            if progress.is_due() && progress.none_since_last(open) {
                bail!(
                    "{open} of {} orders are not at their end, and none got there for {STANDSTILL:?}",
                    taken.len()
                );
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether an order waits for an answer, or a mail to be sent: by indexes alone.
    async fn any_under_way(&self) -> Result<bool> {
        let open = "select exists (select from orders where status = 'pending')
                    or exists (select from orders where status = 'confirmed')";
        let unsent = "select exists (select from messaging.jobs)";
        let open: bool = sqlx::query_scalar(open).fetch_one(&self.orders).await?;
        Ok(open || sqlx::query_scalar(unsent).fetch_one(&self.mails).await?)
    }

    /// How many steps are still to be made by the orders that wait for an answer, and how many mails to be sent.
    async fn under_way(&self) -> Result<usize> {
        let open = "select 2 * count(*) filter (where status = 'pending') + count(*)
                    from orders where status in ('pending', 'confirmed')";
        let unsent = "select count(*) from messaging.jobs";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&self.orders).await?;
        let unsent: i64 = sqlx::query_scalar(unsent).fetch_one(&self.mails).await?;
        Ok(usize::try_from(open + unsent)?)
    }

    /// When the transactions committed that brought each order on its way.
    async fn ways(&self, ids: &[Uuid]) -> Result<BTreeMap<Uuid, Way>> {
        let mut ways: BTreeMap<Uuid, Way> = BTreeMap::new();
        let steps = sqlx::query(
            "select order_id, min(pg_xact_commit_timestamp(xmin)) filter (where type like 'order.confirmed.%'),
                 min(pg_xact_commit_timestamp(xmin))
                     filter (where type like 'order.completed.%' or type like 'order.cancelled.%'),
                 bool_or(type like 'order.cancelled.%')
             from order_events where order_id = any($1) and direction = 'announced' group by order_id",
        );
        for row in steps.bind(ids).fetch_all(&self.orders).await? {
            let (confirmed, ended, cancelled) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            let way = Way { confirmed, ended, cancelled, ..Way::default() };
            ways.insert(row.try_get(0)?, way);
        }
        let mails = "select order_id, max(pg_xact_commit_timestamp(xmin)) from notifications
                     where order_id = any($1) and status = 'sent' group by order_id";
        for row in sqlx::query(mails).bind(ids).fetch_all(&self.mails).await? {
            ways.entry(row.try_get(0)?).or_default().mailed = row.try_get(1)?;
        }
        let facts = "select order_id, pg_xact_commit_timestamp(xmin) from orders
                     where order_id = any($1) and (completed_at is not null or cancelled_at is not null)";
        for row in sqlx::query(facts).bind(ids).fetch_all(&self.facts).await? {
            ways.entry(row.try_get(0)?).or_default().counted = row.try_get(1)?;
        }
        Ok(ways)
    }
}

/// Looks now and then whether less is left to do than the last time.
struct Progress {
    left: usize,
    looked: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { left: usize::MAX, looked: Instant::now() }
    }

    fn is_due(&self) -> bool {
        self.looked.elapsed() > STANDSTILL
    }

    fn none_since_last(&mut self, left: usize) -> bool {
        let none = left >= self.left;
        *self = Self { left, looked: Instant::now() };
        none
    }
}

/// The body of an order of one line.
pub(super) fn order(customer: &str, number: usize) -> Value {
    json!({
        "customer": {"id": customer, "email": "bench@example.com"},
        "lines": [{"sku": sku(number), "quantity": 1}],
        "payment_method": "pm_card_visa",
    })
}

fn sku(number: usize) -> String {
    format!("BENCH-{}", number % SKUS)
}

async fn accepted(request: RequestBuilder) -> Result<()> {
    let response = request.send().await.context("inventory does not answer")?;
    ensure!(response.status().is_success(), "{}: {}", response.url(), response.status());
    Ok(())
}

/// The id of what was taken, or why it was not.
async fn place(request: RequestBuilder) -> Result<Uuid, String> {
    #[derive(Deserialize)]
    struct Answer {
        id: Uuid,
    }
    let response = request.send().await.map_err(|_| "no answer".to_owned())?;
    if response.status() != StatusCode::ACCEPTED {
        return Err(response.status().to_string());
    }
    let answer: Answer = response.json().await.map_err(|_| "no answer".to_owned())?;
    Ok(answer.id)
}

/// Orders that were placed.
#[derive(Debug)]
pub(super) struct Placed {
    /// A second.
    pub(super) rate: f64,
    pub(super) begun: DateTime<Utc>,
    /// What was answered 202, with when it was to be placed.
    pub(super) taken: Vec<(Uuid, DateTime<Utc>)>,
    /// How often each other answer came, and none.
    pub(super) refused: BTreeMap<String, usize>,
}

impl Placed {
    fn keep(&mut self, (due, answered): (DateTime<Utc>, Result<Uuid, String>)) {
        match answered {
            Ok(id) => self.taken.push((id, due)),
            Err(why) => *self.refused.entry(why).or_default() += 1,
        }
    }
}

#[derive(Debug, Default)]
struct Way {
    confirmed: Option<DateTime<Utc>>,
    ended: Option<DateTime<Utc>>,
    cancelled: bool,
    mailed: Option<DateTime<Utc>>,
    counted: Option<DateTime<Utc>>,
}

impl Way {
    fn whole(&self) -> Option<DateTime<Utc>> {
        Some(self.ended?.max(self.mailed?).max(self.counted?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_gets_on_is_waited_for_and_what_stands_still_is_not() {
        let mut progress = Progress::new();
        for left in [9, 5, 4] {
            assert!(!progress.is_due());
            tokio::time::advance(STANDSTILL * 2).await;
            assert!(progress.is_due() && !progress.none_since_last(left), "{left}");
        }
        tokio::time::advance(STANDSTILL * 2).await;
        assert!(progress.is_due() && progress.none_since_last(4));
    }
}
