//! A card processor that is silent, slow or broken: whatever it does, it holds and takes each order's money once.

use crate::shop::Shop;
use serde_json::json;

const IMPATIENT: [(&str, &str); 5] = [
    ("CALL_TIMEOUT", "300ms"),
    ("CALL_BACKOFF_BASE", "10ms"),
    ("CALL_BACKOFF_CAP", "100ms"),
    ("BREAKER_PAUSE_CAP", "50ms"),
    ("SEED", "17"),
];

#[tokio::test(flavor = "multi_thread")]
async fn call_without_an_answer_is_repeated_and_applied_once() {
    let shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    for method in ["pm_timeout_once", "pm_charged_then_timeout"] {
        let id = shop.place("BEANS", 1, method).await;
        shop.order_is(&id, "completed").await;
        assert_eq!(shop.charged(&id).await, (0, 1000, 0), "{method}");
    }
    shop.check().await;
    let (_, report) = shop.provider.get("/v1/report").await;
    let totals = &report["totals"]["EUR"];
    assert_eq!((&totals["authorizations"], &totals["captures"]), (&json!(2), &json!(2)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreliable_processor_completes_every_order_once() {
    let shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 10).await;
    shop.faults(
        &json!({"latency_ms": 5, "error_rate": 0.3, "timeout_rate": 0.2, "timeout_after_effect_rate": 0.4}),
    )
    .await;
    let mut orders = Vec::new();
    for _ in 0..10 {
        orders.push(shop.place("BEANS", 1, "pm_card_visa").await);
    }
    for id in &orders {
        shop.order_is(id, "completed").await;
        assert_eq!(shop.charged(id).await, (0, 1000, 0));
    }
    shop.check().await;
    assert_eq!(shop.stock_of("BEANS").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn unreliable_processor_undoes_every_cancelled_order() {
    let shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 12).await;
    shop.faults(&json!({"error_rate": 0.3, "timeout_rate": 0.2, "timeout_after_effect_rate": 0.4})).await;
    let methods = ["pm_card_visa", "pm_capture_fails", "pm_timeout_once", "pm_card_declined"];
    let mut orders = Vec::new();
    for number in 0..12 {
        orders.push(shop.place("BEANS", 1, methods[number % methods.len()]).await);
    }
    for id in orders.iter().step_by(2) {
        let (status, body) = shop.cancel(id).await;
        assert!([202, 409].contains(&status), "{body}");
    }
    shop.check().await;
}
