//! Load in an open loop, and the outcome of each order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use devstack::{HttpPorts, System};
use loadgen::{Accepted, Catalogue, Customers, LoadResult};
use sqlx::{Decode, PgPool, Postgres, Type};
use system::Service;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::counters::urls;
use super::outcome::{Journey, Outcome};

pub(super) const CATALOGUE: Catalogue = Catalogue { prefix: "BENCH", skus: 10, scarce: 0 };
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// When no order has ended for so long, and no more are placed, none ever will.
const STANDSTILL: Duration = Duration::from_secs(60);

/// Places orders, and reads their outcomes in the databases.
#[derive(Debug)]
pub(super) struct Driver {
    customers: Customers,
    inventory_url: String,
    orders: PgPool,
    mails: PgPool,
    facts: PgPool,
}

impl Driver {
    /// For a system with these further replicas of each service.
    pub(super) async fn open(system: &System, others: &[HttpPorts]) -> Result<Self> {
        let database = async |service: Service| {
            PgPool::connect(&format!("{}/{service}", system.postgres.superuser_url())).await
        };
        Ok(Self {
            customers: Customers::new(urls(system, others, Service::Order.as_str()), Duration::ZERO)?,
            inventory_url: system.url(Service::Inventory.as_str()),
            orders: database(Service::Order).await?,
            mails: database(Service::Notification).await?,
            facts: database(Service::Analytics).await?,
        })
    }

    /// Lists and restocks the products, and waits until they can be ordered.
    pub(super) async fn seed_stock(&self) -> Result<()> {
        self.customers.seed_stock(&self.inventory_url, &CATALOGUE).await
    }

    /// Places orders at a rate a second for so long, waits until all of them have ended, and measures when each passed its steps.
    pub(super) async fn drive(&self, rate: f64, duration: Duration) -> Result<Outcome> {
        let result = self.place(rate, (rate * duration.as_secs_f64()).round() as usize).await?;
        self.finish(rate, result).await
    }

    /// Places orders at a rate a second, each when it is due, however long the answers take.
    pub(super) async fn place(&self, rate: f64, count: usize) -> Result<LoadResult> {
        let orders = loadgen::uniform(CATALOGUE, "bench", "pm_card_visa").take(count);
        loadgen::drive(&self.customers, orders, watch::Sender::new(rate).subscribe(), || {}).await
    }

    pub(super) async fn finish(&self, rate: f64, result: LoadResult) -> Result<Outcome> {
        let journeys = self.journeys(&result.accepted).await?;
        Ok(Outcome::of(&journeys, rate, result))
    }

    /// When each order passed its steps, once all orders have ended.
    async fn journeys(&self, accepted: &[Accepted]) -> Result<Vec<Journey>> {
        let ids: Vec<Uuid> = accepted.iter().map(|order| order.order_id).collect();
        let mut progress = Progress::new();
        // Reading every order is work for Postgres, too: that waits until hardly any is under way.
        while self.any_under_way().await? {
            if progress.is_due() && progress.none_since_last(self.under_way().await?) {
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
        let mut progress = Progress::new();
        loop {
            let steps = self.steps(&ids).await?;
            let journeys: Vec<_> = accepted.iter().filter_map(|order| steps.journey(order)).collect();
            let open = accepted.len() - journeys.len();
            if open == 0 {
                return Ok(journeys);
            }
            if progress.is_due() && progress.none_since_last(open) {
                bail!("{open} of {} orders have not ended, and none did for {STANDSTILL:?}", accepted.len());
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether any order is open or any mail unsent, by indexes alone.
    async fn any_under_way(&self) -> Result<bool> {
        let open = "select exists (select from orders where status = 'pending')
                    or exists (select from orders where status = 'confirmed')";
        let unsent = "select exists (select from messaging.jobs)";
        let open: bool = sqlx::query_scalar(open).fetch_one(&self.orders).await?;
        Ok(open || sqlx::query_scalar(unsent).fetch_one(&self.mails).await?)
    }

    /// How many steps the open orders still need, and how many mails are unsent.
    async fn under_way(&self) -> Result<usize> {
        let open = "select 2 * count(*) filter (where status = 'pending') + count(*)
                    from orders where status in ('pending', 'confirmed')";
        let unsent = "select count(*) from messaging.jobs";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&self.orders).await?;
        let unsent: i64 = sqlx::query_scalar(unsent).fetch_one(&self.mails).await?;
        Ok(usize::try_from(open + unsent)?)
    }

    /// The commit times of the steps of each order.
    async fn steps(&self, ids: &[Uuid]) -> Result<Steps> {
        let ended =
            "select order_id, (min(pg_xact_commit_timestamp(xmin)) filter (where type = 'order.confirmed'),
                 min(pg_xact_commit_timestamp(xmin))
                     filter (where type = 'order.completed' or type = 'order.cancelled'),
                 bool_or(type = 'order.cancelled'))
             from order_events where order_id = any($1) and direction = 'published' group by order_id";
        let mailed = "select order_id, max(pg_xact_commit_timestamp(xmin)) from notifications
                      where order_id = any($1) and status = 'sent' group by order_id";
        let counted = "select order_id, pg_xact_commit_timestamp(xmin) from orders
                       where order_id = any($1) and (completed_at is not null or cancelled_at is not null)";
        Ok(Steps {
            ended: by_order(&self.orders, ended, ids).await?,
            mailed: by_order(&self.mails, mailed, ids).await?,
            counted: by_order(&self.facts, counted, ids).await?,
        })
    }
}

/// The rows of a query: the id of an order, and a value.
async fn by_order<T>(pool: &PgPool, query: &'static str, ids: &[Uuid]) -> Result<BTreeMap<Uuid, T>>
where
    T: Type<Postgres> + for<'r> Decode<'r, Postgres> + Send + Unpin,
{
    let rows: Vec<(Uuid, T)> = sqlx::query_as(query).bind(ids).fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

/// Checks now and then whether less is left to do than the last time.
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

type Time = DateTime<Utc>;

/// By order: when it was confirmed, when it ended and whether by a cancel; when its mail was sent; when analytics had
/// counted it.
struct Steps {
    ended: BTreeMap<Uuid, (Option<Time>, Option<Time>, bool)>,
    mailed: BTreeMap<Uuid, Time>,
    counted: BTreeMap<Uuid, Time>,
}

impl Steps {
    /// Nothing while a step is missing.
    fn journey(&self, order: &Accepted) -> Option<Journey> {
        let (confirmed, ended, cancelled) = *self.ended.get(&order.order_id)?;
        let (mailed, counted) = (self.mailed.get(&order.order_id)?, self.counted.get(&order.order_id)?);
        let whole = ended?.max(*mailed).max(*counted);
        Some(Journey { due: order.due, confirmed, ended: ended?, cancelled, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_is_waited_for_and_a_standstill_is_not() {
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
