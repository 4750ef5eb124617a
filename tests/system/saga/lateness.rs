//! Deadlines, and answers that come after them.

use crate::shop::Shop;
use serde_json::json;
use system::Service;
use testkit::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn late_authorization_is_voided_and_its_order_cancelled() {
    let shop = Shop::open_with(&[
        ("ORDER_DEADLINE", "1s"),
        ("DOWN_DURATION", "3s"),
        ("CALL_TIMEOUT", "300ms"),
        ("CALL_BACKOFF_CAP", "300ms"),
    ])
    .await;
    shop.stock("BEANS", 5).await;
    let id = shop.place("BEANS", 2, "pm_down").await;
    let order = shop.order_is(&id, "cancelled").await;
    assert_eq!(order["reason"], "timed_out");
    let facts = shop.timeline(&id).await["facts"].clone();
    let place =
        |event: &str| facts.as_array().and_then(|facts| facts.iter().position(|fact| fact["event"] == event));
    assert!(place("order.cancelled") < place("payment.authorized"), "{facts}");
    assert!(place("payment.authorized") < place("payment.voided"), "{facts}");
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 0, 0));
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_order_settles_after_both_participants_reply() {
    let mut shop = Shop::open_with(&[("ORDER_DEADLINE", "500ms")]).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Payment).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    let timeline = eventually("only the payment to be open", async || {
        let timeline = shop.timeline(&id).await;
        let open = timeline["awaiting"].as_array().expect("a list").len();
        if timeline["status"] == "cancelled" && open == 1 { Ok(timeline) } else { Err(timeline) }
    })
    .await;
    assert_eq!(timeline["settled"], false);
    let closings = ["payment.declined", "payment.voided"];
    assert_eq!(timeline["awaiting"], json!([{"from": "payment", "events": closings, "until": null}]));

    shop.restart(Service::Payment).await;
    assert_eq!(shop.order_is(&id, "cancelled").await["reason"], "timed_out");
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 0, 0));
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn deadline_passed_during_an_outage_is_kept_afterwards() {
    let mut shop = Shop::open_with(&[("ORDER_DEADLINE", "200ms")]).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    shop.stop(Service::Payment).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.stop(Service::Order).await;
    shop.restart(Service::Order).await;
    shop.cancelled_as(&id, "timed_out").await;
    shop.restart(Service::Inventory).await;
    shop.restart(Service::Payment).await;
    shop.order_is(&id, "cancelled").await;
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_after_compensation_is_recorded_and_order_stays_settled() {
    let mut shop = Shop::open_with(&[("ORDER_DEADLINE", "200ms")]).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    shop.stop(Service::Payment).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    eventually("the order to travel", async || {
        let waiting = shop.world.waiting().await;
        let arrived = ["inventory.events", "payment.events"].iter().all(|queue| waiting.contains_key(*queue));
        if arrived { Ok(()) } else { Err(waiting) }
    })
    .await;
    shop.stop(Service::Order).await;
    shop.restart(Service::Inventory).await;
    let reserved = shop.world.hold("order.events").await;
    assert_eq!(reserved.envelope.event.event_type().name(), "stock.reserved");
    shop.restart(Service::Payment).await;
    shop.restart(Service::Order).await;
    let settled = shop.order_is(&id, "cancelled").await;
    assert_eq!(settled["reason"], "timed_out");

    reserved.release().await;
    shop.check().await;
    let noted = shop.order(&id).await;
    assert_eq!(noted["version"].as_i64(), settled["version"].as_i64().map(|version| version + 1));
    assert_eq!((&noted["status"], &noted["settled"]), (&json!("cancelled"), &json!(true)));
    let facts = shop.timeline(&id).await["facts"].clone();
    let place =
        |event: &str| facts.as_array().and_then(|facts| facts.iter().position(|fact| fact["event"] == event));
    assert!(place("stock.reserved") < place("stock.released"), "in time order: {facts}");
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
}
