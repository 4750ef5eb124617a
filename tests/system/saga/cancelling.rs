//! A customer cancels: before, while and after stock and money are found, and faster than the order travels.

use crate::shop::Shop;
use serde_json::json;
use system::Service;

use super::{IMPATIENT, cancelled_after_the_money_was_taken};

#[tokio::test(flavor = "multi_thread")]
async fn repeated_cancellation_of_a_pending_order_cancels_once() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    shop.stop(Service::Payment).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    let (status, order) = shop.cancel(&id).await;
    assert_eq!(
        (status, &order["status"], &order["reason"]),
        (202, &json!("cancelled"), &json!("customer_request"))
    );
    assert_eq!(order["settled"], false);
    assert_eq!(shop.cancel(&id).await, (202, order));

    shop.restart(Service::Inventory).await;
    shop.restart(Service::Payment).await;
    let order = shop.order_is(&id, "cancelled").await;
    assert_eq!(shop.cancel(&id).await, (202, order));
    shop.check().await;
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
    assert_eq!(shop.charged(&id).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_during_a_capture_refunds_afterwards() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    let id = cancelled_after_the_money_was_taken(&mut shop).await;
    let order = shop.order_is(&id, "cancelled").await;
    assert_eq!(order["reason"], "customer_request");
    shop.check().await;
    assert_eq!(shop.payment_of(&id).await["status"], "refunded");
    assert_eq!(shop.charged(&id).await, (0, 2000, 2000));
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
    let mails = shop.notifications_of(&id).await;
    assert_eq!(mails["refunded"]["status"], "sent");
    let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
    assert_eq!(summary["revenue"][0]["net_minor"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_before_the_confirmation_voids_the_authorization() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.payment_is(&id, "authorized").await;
    shop.stop(Service::Payment).await;
    shop.restart(Service::Inventory).await;
    let confirmed = shop.world.hold("payment.events").await;
    assert_eq!(confirmed.envelope.event.event_type().name(), "order.confirmed");
    assert_eq!(shop.cancel(&id).await.0, 202);

    shop.restart(Service::Payment).await;
    shop.payment_is(&id, "voided").await;
    confirmed.release().await;
    shop.order_is(&id, "cancelled").await;
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 0, 0));
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_before_the_order_leaves_tombstones() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    shop.stop(Service::Payment).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    let placed = [shop.world.hold("inventory.events").await, shop.world.hold("payment.events").await];
    assert!(placed.iter().all(|held| held.envelope.event.event_type().name() == "order.placed"));
    assert_eq!(shop.cancel(&id).await.0, 202);

    shop.restart(Service::Inventory).await;
    shop.restart(Service::Payment).await;
    shop.order_is(&id, "cancelled").await;
    assert_eq!(shop.reservation_of(&id).await, json!({"order_id": id, "status": "released", "lines": []}));
    let tombstone = shop.payment_of(&id).await;
    assert_eq!((&tombstone["status"], &tombstone["ledger"]), (&json!("voided"), &json!([])));
    for held in placed {
        held.release().await;
    }
    shop.check().await;
    assert_eq!(shop.payment_of(&id).await, tombstone);
    assert_eq!(shop.stock_of("BEANS").await, (5, 0));
    assert_eq!(shop.charged(&id).await, (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn completed_or_unknown_order_cannot_be_cancelled() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    let order = shop.order_is(&id, "completed").await;
    let (status, problem) = shop.cancel(&id).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/order-completed")));
    assert_eq!(shop.order(&id).await, order);
    let (status, problem) = shop.cancel(&runtime::clock::new_id().to_string()).await;
    assert_eq!((status, &problem["type"]), (404, &json!("/problems/not-found")));
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 2000, 0));
}
