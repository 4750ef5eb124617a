//! The summary: a count of the log, each event once, whenever it is read and however often.

use crate::auditing::audit_now;
use crate::shop::Shop;
use serde_json::{Value, json};
use system::Service;
use testkit::eventually;
use testkit::facts::{envelope, new_order, placed};

#[tokio::test(flavor = "multi_thread")]
async fn empty_system_has_an_empty_summary() {
    let shop = Shop::open().await;
    let (status, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
    assert_eq!(status, 200);
    assert_eq!(
        summary,
        json!({
            "orders": {
                "placed": 0, "pending": 0, "confirmed": 0, "completed": 0, "cancelled": 0,
                "cancelled_by_reason": {},
            },
            "revenue": [],
            "notifications": {"sent": 0, "failed": 0},
            "conversion": null,
            "as_of": {"events": 0, "time": null},
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_published_while_analytics_is_down_are_counted_later() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 10).await;
    for method in ["pm_card_visa", "pm_card_declined"] {
        shop.place("BEANS", 1, method).await;
    }
    shop.check().await;
    shop.stop(Service::Analytics).await;
    for method in ["pm_card_visa", "pm_capture_fails"] {
        shop.place("BEANS", 1, method).await;
    }
    shop.restart(Service::Analytics).await;
    shop.check().await;
    let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
    assert_eq!(summary["orders"]["cancelled_by_reason"], json!({"payment_declined": 1, "payment_failed": 1}));
    assert_eq!(summary["conversion"], 0.5);
    let revenue =
        json!([{"currency": "EUR", "captured_minor": 2000, "refunded_minor": 0, "net_minor": 2000}]);
    assert_eq!(summary["revenue"], revenue);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_analytics_has_not_read_are_under_way() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 10).await;
    shop.place("BEANS", 1, "pm_card_visa").await;
    shop.check().await;
    shop.stop(Service::Analytics).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&id, "completed").await;
    let sources = shop.sources();
    let audit = eventually("everything but analytics to be at rest", async || {
        let audit = audit_now(&sources).await;
        let unread = |what: &String| what.ends_with("events not read by analytics");
        if audit.under_way.len() == 1 && audit.under_way.iter().all(unread) { Ok(audit) } else { Err(audit) }
    })
    .await;
    assert!(!audit.is_broken(), "a summary that is late is not wrong: {audit:?}");
    shop.restart(Service::Analytics).await;
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_summary_is_rebuilt_from_the_event_stream() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 10).await;
    for method in ["pm_card_visa", "pm_card_declined", "pm_capture_fails", "pm_card_visa"] {
        shop.place("BEANS", 1, method).await;
    }
    shop.check().await;
    let (_, before) = shop[Service::Analytics].get("/api/v1/summary").await;

    shop.stop(Service::Analytics).await;
    shop.world.drop_database("analytics").await;
    shop.restart(Service::Analytics).await;
    let after = eventually("the whole log to be read", async || {
        let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
        if summary["as_of"]["events"] == before["as_of"]["events"] { Ok(summary) } else { Err(summary) }
    })
    .await;
    assert_eq!(after, before);
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_of_a_clock_that_is_ahead_does_not_move_as_of_into_the_future() {
    let shop = Shop::open().await;
    let mut ahead = envelope(placed(new_order(), "BEANS", 1), 1);
    ahead.time = "2099-01-01T00:00:00Z".parse().expect("a time");
    shop.world.publish(&ahead).await;
    let summary = eventually("the event to be counted", async || {
        let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
        if summary["as_of"]["events"].as_u64() > Some(0) { Ok(summary) } else { Err(summary) }
    })
    .await;
    let as_of: chrono::DateTime<chrono::Utc> =
        summary["as_of"]["time"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    assert!(as_of <= runtime::clock::now(), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_twice_in_the_stream_is_counted_once() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 10).await;
    let mut listener = shop.world.listen().await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&id, "completed").await;
    shop.check().await;
    let summary = async || shop[Service::Analytics].get("/api/v1/summary").await.1;
    let before = summary().await;

    for envelope in listener.received().await {
        shop.world.publish(envelope).await;
    }
    // Of what is counted behind the repeats, one can tell that these were read.
    let other = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&other, "completed").await;
    shop.check().await;
    let events = |summary: &Value| summary["as_of"]["events"].as_i64().expect("a number");
    let expected = events(&before)
        + i64::try_from(listener.receives(&other, &["notification.sent"]).await.len()).expect("few");
    eventually("all events to be counted", async || {
        let summary = summary().await;
        if events(&summary) == expected { Ok(()) } else { Err(summary) }
    })
    .await;
}
