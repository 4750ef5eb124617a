//! Faults outside the databases: in queues, at the card processor, and in the answers that clients got.

use crate::auditing::audit_now;
use crate::shop::Shop;
use audit::{Recorded, Sources};
use serde_json::json;
use testkit::eventually;
use testkit::raw_publisher::RawPublisher;
use testkit::running::answer;

/// The rules that the faults here break.
pub(super) const BREAKS: &[&str] = &[
    "only expected dead letters",
    "every accepted order exists",
    "the processor charged once",
    "the ledger matches the processor",
];

async fn breaks(sources: &Sources) -> Vec<&'static str> {
    audit_now(sources).await.broken().collect()
}

async fn with_an_order() -> (Shop, String) {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&id, "completed").await;
    shop.check().await;
    (shop, id)
}

/// Has the processor hold 10.00 for the order once more.
async fn hold(shop: &Shop, id: &str, currency: &str) {
    let hold = json!({"merchant_reference": id, "amount_minor": 1000, "currency": currency,
        "payment_method": "pm_card_visa"});
    let (status, body) = answer(shop.provider.post("/v1/authorizations").json(&hold)).await;
    assert!((200..300).contains(&status), "{status}: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_without_an_order_and_key_with_two_are_found() {
    let (shop, id) = with_an_order().await;
    let another = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&another, "completed").await;
    shop.check().await;
    let recorded =
        |key: &str, order_id: &str| Recorded { key: key.to_owned(), order_id: order_id.to_owned() };
    let mut sources = shop.sources();
    sources.recorded = vec![recorded("one", &id), recorded("one", &id), recorded("another", &another)];
    assert!(breaks(&sources).await.is_empty(), "the same answer again is none of two orders");
    sources.recorded = vec![recorded("one", &id), recorded("one", &another)];
    assert_eq!(breaks(&sources).await, ["every accepted order exists"]);
    sources.recorded = vec![recorded("one", "01a1fe4c-0000-7000-8000-000000000001")];
    assert_eq!(breaks(&sources).await, ["every accepted order exists"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_of_the_broker_is_found_by_id_and_left_in_place() {
    let (shop, _) = with_an_order().await;
    let publisher = RawPublisher::open(&shop.world).await;
    // Twice the same: a connection cut while a message is dead-lettered can leave two copies.
    for _ in 0..2 {
        publisher.send("order.own", "order.dead-letters", "dead", b"{}").await;
    }
    let mut sources = shop.sources();
    eventually("a dead letter", async || {
        let broken = breaks(&sources).await;
        if broken == ["only expected dead letters"] { Ok(()) } else { Err(broken) }
    })
    .await;
    assert_eq!(breaks(&sources).await, ["only expected dead letters"], "it is still there");
    sources.expected_dead_letters = 1;
    let audit = audit_now(&sources).await;
    assert!(
        !audit.is_broken() && audit.under_way.is_empty(),
        "an expected dead letter is at rest: {audit:?}"
    );
    sources.expected_dead_letters = 2;
    assert_eq!(breaks(&sources).await, ["only expected dead letters"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn second_authorization_at_the_processor_is_found() {
    let (shop, id) = with_an_order().await;
    hold(&shop, &id, "EUR").await;
    assert_eq!(
        breaks(&shop.sources()).await,
        ["the processor charged once", "the ledger matches the processor"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_in_another_currency_is_found() {
    let (shop, id) = with_an_order().await;
    hold(&shop, &id, "USD").await;
    assert_eq!(breaks(&shop.sources()).await, ["the ledger matches the processor"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_in_progress_violates_nothing_and_open_calls_are_listed() {
    let (shop, _) = with_an_order().await;
    shop.faults(&json!({"timeout_rate": 1.0})).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.cancel(&id).await;
    let sources = shop.sources();
    let audit = eventually("an order that waits", async || {
        let audit = audit_now(&sources).await;
        if audit.awaiting_processor == [id.clone()] { Ok(audit) } else { Err(audit.awaiting_processor) }
    })
    .await;
    assert!(!audit.is_broken(), "{audit:?}");
    assert!(audit.under_way.iter().any(|what| what == "1 orders not ended"), "{:?}", audit.under_way);
    shop.faults(&json!({})).await;
    shop.check().await;
}
