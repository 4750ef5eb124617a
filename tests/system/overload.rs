//! More orders than can be processed: the excess is refused, accepted orders are kept, and the backlog stays
//! within its limits.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::shop::Shop;
use crate::shop::order_of;
use audit::{Recorded, report};
use futures::future::join_all;
use reqwest::{Client, Response};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use system::Service;
use testkit::eventually;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const CUSTOMERS: usize = 300;
const ORDERS_EACH: usize = 10;
/// What may wait: dependency less than comes.
const LIMIT: i64 = 60;
/// Orders that are placed at once, in two transactions of 32: admitted before a measurement, and not yet committed at it.
const PLACED_AT_ONCE: i64 = 64;
const CONNECTIONS: usize = 5;
/// Longer than the service takes for any answer.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn flood_without_a_participant_keeps_pending_orders_within_the_limit() {
    let mut shop = open("MAX_PENDING").await;
    shop.stop(Service::Inventory).await;
    let (flood, most) = flood_and_watch(&shop).await;
    assert!((LIMIT..=LIMIT + PLACED_AT_ONCE).contains(&most.pending), "{most:?}");
    flood.was_refused_in_good_order("too many orders are pending");

    shop.restart(Service::Inventory).await;
    settle(&shop, flood).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_without_a_broker_keeps_the_outbox_within_the_limit() {
    let mut shop = open("MAX_OUTBOX").await;
    let lead = take_the_lead(&mut shop).await;
    let (flood, most) = flood_and_watch(&shop).await;
    // No order gets anywhere, so that none adds a second event.
    assert!((LIMIT..=LIMIT + PLACED_AT_ONCE).contains(&most.outbox), "{most:?}");
    flood.was_refused_in_good_order("too many events wait to be published");

    drop(lead);
    settle(&shop, flood).await;
}

async fn open(limit: &str) -> Shop {
    let (waiting, connections) = (LIMIT.to_string(), CONNECTIONS.to_string());
    let shop = Shop::open_with(&[(limit, &waiting), ("DATABASE_MAX_CONNECTIONS", &connections)]).await;
    shop.stock("BEANS", 1_000_000).await;
    shop
}

/// Keeps the relay of the order service from leading, as long as the connection lives.
async fn take_the_lead(shop: &mut Shop) -> PgConnection {
    let pool = shop.pool("order").await;
    shop.stop(Service::Order).await;
    let mut lead = pool.acquire().await.expect("Postgres answers").detach();
    let taken = "update messaging.leases as lease
         set token = token + 1, backend_pid = session.pid, backend_start = session.backend_start,
             until = now() + interval '1 h'
         from pg_stat_get_activity(pg_backend_pid()) as session where name = 'relay'";
    assert_eq!(sqlx::query(taken).execute(&mut lead).await.expect("the lead").rows_affected(), 1);
    shop.restart(Service::Order).await;
    lead
}

/// What was answered, and what was taken.
#[derive(Debug, Default)]
struct Flood {
    answers: BTreeMap<(u16, String), usize>,
    taken: Vec<Recorded>,
}

impl Flood {
    fn count(&mut self, key: &str, status: u16, body: &Value) {
        let detail = body["detail"].as_str().unwrap_or_default().to_owned();
        *self.answers.entry((status, detail)).or_default() += 1;
        if status == 202 {
            let order_id = body["id"].as_str().expect("an id").to_owned();
            self.taken.push(Recorded { key: key.to_owned(), order_id });
        }
    }

    /// Some were taken, some refused, for this reason too.
    fn was_refused_in_good_order(&self, reason: &str) {
        let mut statuses: Vec<u16> = self.answers.keys().map(|(status, _)| *status).collect();
        statuses.dedup();
        assert_eq!(statuses, [202, 503], "{:#?}", self.answers);
        let refused = self.answers.get(&(503, reason.to_owned()));
        assert!(refused.is_some_and(|count| *count > CUSTOMERS), "{:#?}", self.answers);
        assert_eq!(self.answers.values().sum::<usize>(), CUSTOMERS * ORDERS_EACH);
    }
}

/// All customers at once, each with one order after the other; and the most that ever waited.
async fn flood_and_watch(shop: &Shop) -> (Flood, Most) {
    let flood = Mutex::<Flood>::default();
    let over = CancellationToken::new();
    let pool = shop.pool("order").await;
    // A client each: no two share a connection.
    let customers = (0..CUSTOMERS).map(|_| order_again_and_again(&shop[Service::Order].url, &flood));
    let customers = async {
        join_all(customers).await;
        over.cancel();
    };
    let (most, ()) = tokio::join!(watch(&pool, &over), customers);
    (flood.into_inner().expect("no panic"), most)
}

async fn order_again_and_again(url: &str, flood: &Mutex<Flood>) {
    let client = Client::builder().timeout(PATIENCE).build().expect("a client");
    let body = order_of("BEANS", 1, "pm_card_visa");
    for _ in 0..ORDERS_EACH {
        let key = runtime::clock::new_id().to_string();
        let request = client.post(format!("{url}/api/v1/orders")).header("Idempotency-Key", &key);
        let response = request.json(&body).send().await.expect("every request is answered");
        let status = response.status().as_u16();
        assert!(status == 202 || says_when_to_come_again(&response), "{response:?}");
        let body: Value = response.json().await.expect("JSON");
        flood.lock().expect("no panic").count(&key, status, &body);
    }
}

fn says_when_to_come_again(response: &Response) -> bool {
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    [429, 503].contains(&response.status().as_u16())
        && after.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0))
}

/// The most that waited at any look.
#[derive(Debug, Default)]
struct Most {
    pending: i64,
    outbox: i64,
}

async fn watch(pool: &PgPool, over: &CancellationToken) -> Most {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut most = Most::default();
    while !over.is_cancelled() {
        looks.tick().await;
        let (pending, outbox): (i64, i64) = sqlx::query_as(
            "select (select count(*) from orders where status = 'pending'), (select count(*) from messaging.outbox)",
        )
        .fetch_one(pool)
        .await
        .expect("counts");
        most = Most { pending: most.pending.max(pending), outbox: most.outbox.max(outbox) };
    }
    most
}

/// Waits until nothing is under way: what was taken is there and has ended, nothing else is there, and the books agree.
async fn settle(shop: &Shop, flood: Flood) {
    let pool = shop.pool("order").await;
    let taken = i64::try_from(flood.taken.len()).expect("few enough");
    eventually("every order that was taken to be completed", async || {
        let completed: (i64, i64) =
            sqlx::query_as("select count(*), count(*) filter (where status = 'completed') from orders")
                .fetch_one(&pool)
                .await
                .expect("counts");
        if completed == (taken, taken) { Ok(()) } else { Err((completed, taken)) }
    })
    .await;
    let mut sources = shop.sources();
    sources.recorded = flood.taken;
    let audit = shop.audit(&sources).await;
    let lines = report::lines(&audit).join("\n");
    assert!(!audit.is_broken() && audit.under_way.is_empty(), "the books do not agree:\n{lines}");
}
