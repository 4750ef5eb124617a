//! While the card processor fails its jobs wait and orders keep their deadlines; afterwards everything settles.

use crate::shop::Shop;
use serde_json::json;
use system::Service;
use testkit::eventually;

const ORDERS: usize = 40;

/// A few calls at once, soon made again: without a breaker they would add up.
const FEW_AT_ONCE: [(&str, &str); 6] = [
    ("CALL_TIMEOUT", "300ms"),
    ("CALL_CONCURRENCY", "4"),
    ("CALL_BACKOFF_BASE", "10ms"),
    ("CALL_BACKOFF_CAP", "100ms"),
    ("BREAKER_PAUSE", "500ms"),
    ("BREAKER_PAUSE_CAP", "4s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn failing_processor_is_spared_and_later_everything_settles() {
    let shop = Shop::open_with(&FEW_AT_ONCE).await;
    shop.stock("BEANS", 40).await;
    shop.faults(&json!({"error_rate": 1.0})).await;
    let ids = place_all(&shop).await;
    is_left_alone(&shop, "The service cannot take this now").await;

    let jobs = shop.pool("payment").await;
    eventually("all jobs to have waited for three seconds", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from messaging.jobs where created_at < now() - interval '3 seconds'",
        )
        .fetch_one(&jobs)
        .await
        .expect("counts");
        if waiting == ORDERS as i64 { Ok(()) } else { Err(waiting) }
    })
    .await;
    let calls = shop.calls().await;
    let attempts: i64 =
        sqlx::query_scalar("select sum(attempts) from messaging.jobs").fetch_one(&jobs).await.expect("a sum");
    assert!(0 < calls && calls <= attempts, "{calls} calls for {attempts} attempts");
    assert!(attempts < ORDERS as i64, "{attempts} attempts for {ORDERS} jobs");

    shop.faults(&json!({})).await;
    shop.check().await;
    for id in &ids {
        assert_eq!(shop.order(id).await["status"], "completed");
        assert_eq!(shop.charged(id).await, (0, 1000, 0));
    }
    let (status, parts) = shop[Service::Payment].operations("/health/parts").await;
    assert_eq!((status, &parts["notes"]), (200, &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_keep_their_deadlines_while_the_breaker_is_open() {
    let variables = [FEW_AT_ONCE.as_slice(), &[("ORDER_DEADLINE", "2s")]].concat();
    let shop = Shop::open_with(&variables).await;
    shop.stock("BEANS", 40).await;
    shop.faults(&json!({"timeout_rate": 1.0})).await;
    let ids = place_all(&shop).await;
    is_left_alone(&shop, "no answer in time").await;
    for id in &ids {
        shop.cancelled_as(id, "timed_out").await;
    }
    shop.faults(&json!({})).await;
    shop.check().await;
    for id in &ids {
        assert_eq!(shop.charged(id).await, (0, 0, 0));
    }
    assert_eq!(shop.stock_of("BEANS").await, (40, 0));
}

async fn place_all(shop: &Shop) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..ORDERS {
        ids.push(shop.place("BEANS", 1, "pm_card_visa").await);
    }
    ids
}

/// Waits until the payment service notes that its calls wait, and why; its parts are up all the same.
async fn is_left_alone(shop: &Shop, reason: &str) {
    let note = format!("failing for pm_card_visa, its jobs wait: {reason}");
    eventually("a note", async || {
        let (status, body) = shop[Service::Payment].operations("/health/parts").await;
        assert_eq!(status, 200, "{body}");
        if body["notes"]["card-processor"] == note { Ok(()) } else { Err(body) }
    })
    .await;
}
