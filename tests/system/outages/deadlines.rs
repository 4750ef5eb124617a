//! The decision deadline measures the participants: an outage of our own postpones it, up to the longest time.

use std::env;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use devstack::RabbitMq;
use serde_json::Value;
use system::Service;
use tempfile::TempDir;
use testkit::{World, eventually, private};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::shop::Shop;

const STOCK: i64 = 5_000;
const BETWEEN_ORDERS: Duration = Duration::from_millis(100);

/// A shop on a broker of its own, with a product.
async fn open(variables: &[(&str, &str)]) -> (Shop, RabbitMq, TempDir) {
    let (rabbitmq, folder, servers) = private::rabbitmq().await;
    let shop = Shop::open_in(World::with(servers).await, variables).await;
    shop.stock("BEANS", STOCK).await;
    (shop, rabbitmq, folder)
}

/// How long after placing the order is cancelled if it is still pending, as its API says now.
fn patience(order: &Value) -> TimeDelta {
    let time = |name: &str| -> DateTime<Utc> {
        order[name].as_str().expect("a time").parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    time("deadline_at") - time("placed_at")
}

/// Waits until the deadline of the order, which stays pending, is later than so long after placing.
async fn is_postponed(shop: &Shop, id: &str, longer_than: TimeDelta) {
    eventually(&format!("the deadline of order {id} to be postponed"), async || {
        let order = shop.order(id).await;
        assert_eq!(order["status"], "pending", "{order}");
        if patience(&order) > longer_than { Ok(()) } else { Err(order) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_placed_without_a_broker_are_completed_afterwards() {
    let (deadline, outage) = deadline_and_outage();
    let (shop, mut rabbitmq, _folder) = open(&[("ORDER_DEADLINE", deadline)]).await;
    rabbitmq.process.kill().expect("it is killed");
    let begun = Instant::now();
    let mut ids = Vec::new();
    let mut ticks = interval(BETWEEN_ORDERS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while begun.elapsed() < outage {
        ticks.tick().await;
        ids.push(shop.place("BEANS", 1, "pm_card_visa").await);
    }
    // Cancelled orders would not be counted as pending.
    assert_eq!(pending(&shop).await, ids.len());
    rabbitmq.resume().await.expect("RabbitMQ starts again");
    let available = Instant::now();
    for id in &ids {
        shop.order_is(id, "completed").await;
    }
    let (count, outage) = (ids.len(), begun.elapsed() - available.elapsed());
    println!("{count} orders in {outage:?} without a broker, completed {:?} later", available.elapsed());
    shop.check().await;
    assert_eq!(shop.stock_of("BEANS").await, (STOCK - i64::try_from(count).expect("few"), 0));
}

/// `ORDER_DEADLINE`, and how long there is no broker: two deadlines, or the seconds that the variable says at the default
/// deadline.
fn deadline_and_outage() -> (&'static str, Duration) {
    match env::var("OUTAGE_SECONDS") {
        Ok(seconds) => ("30s", Duration::from_secs(seconds.parse().expect("OUTAGE_SECONDS: a number"))),
        Err(_) => ("10s", Duration::from_secs(20)),
    }
}

async fn pending(shop: &Shop) -> usize {
    let pool = shop.pool("order").await;
    let count: i64 = sqlx::query_scalar("select count(*) from orders where status = 'pending'")
        .fetch_one(&pool)
        .await
        .expect("a number");
    usize::try_from(count).expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_placed_while_publishers_are_blocked_are_completed_afterwards() {
    let (shop, rabbitmq, _folder) = open(&[("ORDER_DEADLINE", "4s")]).await;
    let memory = async |limit| {
        rabbitmq.control(&["set_vm_memory_high_watermark", limit]).await.expect("it is set");
    };
    memory("0").await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    is_postponed(&shop, &id, TimeDelta::seconds(8)).await;
    memory("0.4").await;
    shop.order_is(&id, "completed").await;
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_past_its_longest_deadline_is_cancelled_and_undone() {
    let (shop, mut rabbitmq, _folder) = open(&[("ORDER_DEADLINE", "1s"), ("ORDER_DEADLINE_MAX", "7s")]).await;
    rabbitmq.process.kill().expect("it is killed");
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    is_postponed(&shop, &id, TimeDelta::seconds(1)).await;
    shop.cancelled_as(&id, "timed_out").await;
    assert_eq!(patience(&shop.order(&id).await), TimeDelta::seconds(7));

    rabbitmq.resume().await.expect("RabbitMQ starts again");
    shop.order_is(&id, "cancelled").await;
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 0, 0));
    assert_eq!(shop.stock_of("BEANS").await, (STOCK, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_waited_while_nobody_consumed_them_count() {
    let mut shop = Shop::open_with(&[("ORDER_DEADLINE", "6s")]).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.payment_is(&id, "authorized").await;
    shop.stop(Service::Order).await;
    shop.restart(Service::Inventory).await;
    let pool = shop.pool("order").await;
    eventually("the deadline to pass", async || {
        let passed: bool = sqlx::query_scalar("select deadline_at < now() from orders")
            .fetch_one(&pool)
            .await
            .expect("an order");
        if passed { Ok(()) } else { Err("not yet") }
    })
    .await;
    shop.restart(Service::Order).await;
    shop.order_is(&id, "completed").await;
    shop.check().await;
}
