//! An order's whole life, through all services.

mod breaker;
mod cancelling;
mod lateness;
mod processor;
mod refusals;

use crate::shop::Shop;
use crate::shop::{order_of, place_at};
use serde_json::{Value, json};
use system::Service;
use testkit::eventually;

/// So that a call to the processor that gets no answer is made again soon.
pub(crate) const IMPATIENT: [(&str, &str); 3] =
    [("CALL_TIMEOUT", "300ms"), ("CALL_BACKOFF_BASE", "10ms"), ("CALL_BACKOFF_CAP", "100ms")];

#[tokio::test(flavor = "multi_thread")]
async fn order_with_stock_and_payment_completes_in_all_services() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    let order = shop.order_is(&id, "completed").await;
    shop.check().await;

    assert_eq!(order["total"], json!({"amount_minor": 2000, "currency": "EUR"}));
    assert_eq!((&order["reason"], &order["settled"]), (&Value::Null, &json!(false)));
    assert_eq!(shop.stock_of("BEANS").await, (3, 0));
    assert_eq!(shop.charged(&id).await, (0, 2000, 0));
    assert_eq!(shop.reservation_of(&id).await["status"], "committed");
    let ledger = shop.payment_of(&id).await["ledger"].clone();
    assert_eq!(
        column(&ledger, &["posting", "account", "amount/amount_minor"]),
        [
            r#""authorized" "customer" -2000"#,
            r#""authorized" "authorized_holds" 2000"#,
            r#""captured" "authorized_holds" -2000"#,
            r#""captured" "captured_funds" 2000"#,
        ]
    );
    let mails = shop.mails.mails().expect("mails");
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains(&format!("Subject: Your order {id} is confirmed")), "{}", mails[0]);
    assert!(mails[0].contains("Total: 20.00 EUR"), "{}", mails[0]);
    let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
    assert_eq!((&summary["orders"]["completed"], &summary["conversion"]), (&json!(1), &json!(1.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn timeline_shows_events_in_order_and_what_is_awaited() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    let order = shop.order(&id).await;
    shop.payment_is(&id, "authorized").await;
    let timeline = eventually("the authorization in the timeline", async || {
        let timeline = shop.timeline(&id).await;
        if timeline["facts"][1].is_null() { Err(timeline) } else { Ok(timeline) }
    })
    .await;
    assert_eq!(column(&timeline["facts"], &["event"]), [r#""order.placed""#, r#""payment.authorized""#]);
    assert_eq!(
        timeline["awaiting"],
        json!([{
            "from": "inventory",
            "events": ["stock.reserved", "stock.rejected"],
            "until": order["deadline_at"],
        }])
    );

    shop.restart(Service::Inventory).await;
    shop.order_is(&id, "completed").await;
    let timeline = shop.timeline(&id).await;
    assert_eq!(
        column(&timeline["facts"], &["service", "event", "direction"]),
        [
            r#""order" "order.placed" "published""#,
            r#""payment" "payment.authorized" "consumed""#,
            r#""inventory" "stock.reserved" "consumed""#,
            r#""order" "order.confirmed" "published""#,
            r#""payment" "payment.captured" "consumed""#,
            r#""order" "order.completed" "published""#,
        ]
    );
    let times = column(&timeline["facts"], &["at"]);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(timeline["awaiting"], json!([]));
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_order_leaves_nothing_behind() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    for (quantity, method, reason, stock, payment, why) in [
        (6, "pm_card_visa", "out_of_stock", "rejected", "voided", Value::Null),
        (1, "pm_card_declined", "payment_declined", "released", "declined", json!("card_declined")),
        (1, "pm_insufficient_funds", "payment_declined", "released", "declined", json!("insufficient_funds")),
        (1, "pm_gold", "payment_declined", "released", "declined", json!("unknown_payment_method")),
        (1, "pm_capture_fails", "payment_failed", "released", "voided", json!("capture_failed")),
    ] {
        let id = shop.place("BEANS", quantity, method).await;
        let order = shop.order_is(&id, "cancelled").await;
        assert_eq!(order["reason"], reason, "{method}");
        assert_eq!(shop.reservation_of(&id).await["status"], stock, "{method}");
        let paid = shop.payment_of(&id).await;
        assert_eq!((&paid["status"], &paid["reason"]), (&json!(payment), &why), "{method}");
        assert_eq!(shop.charged(&id).await, (0, 0, 0), "{method}");
        assert_eq!(shop.stock_of("BEANS").await, (5, 0), "{method}");
    }
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_rejected_by_both_participants_is_cancelled_once() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let id = shop.place("BEANS", 2, "pm_card_declined").await;
    let order = shop.order_is(&id, "cancelled").await;
    assert!(["out_of_stock", "payment_declined"].map(Value::from).contains(&order["reason"]), "{order}");
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_short_line_reserves_none() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    shop.stock("CUPS", 1).await;
    let order = json!({
        "customer": {"id": "customer-1", "email": "ada@example.com"},
        "lines": [{"sku": "BEANS", "quantity": 5}, {"sku": "CUPS", "quantity": 2}],
        "payment_method": "pm_card_visa",
    });
    let order = place_at(&shop[Service::Order], &order).await;
    let id = order["id"].as_str().expect("an id");
    assert_eq!(shop.order_is(id, "cancelled").await["reason"], "out_of_stock");
    shop.check().await;
    assert_eq!((shop.stock_of("BEANS").await, shop.stock_of("CUPS").await), ((5, 0), (1, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_event_in_any_order_changes_nothing() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    let mut listener = shop.world.listen().await;
    let completed = shop.place("BEANS", 1, "pm_card_visa").await;
    let failed = shop.place("BEANS", 1, "pm_capture_fails").await;
    let orders = [shop.order_is(&completed, "completed").await, shop.order_is(&failed, "cancelled").await];
    shop.check().await;

    let mut said = listener.received().await.to_vec();
    let before = said.len();
    // Each mail is counted by its event, so these are left to the inbox.
    said.retain(|envelope| envelope.event.event_type().owner() != Service::Notification);
    for envelope in said.iter_mut().rev() {
        envelope.id = runtime::clock::new_id();
        shop.world.publish(envelope).await;
    }
    shop.check().await;
    assert_eq!([shop.order(&completed).await, shop.order(&failed).await], orders);
    assert_eq!(listener.received().await.len(), before + said.len(), "nobody answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_keeps_its_price_and_old_prices_stay_gone() {
    let shop = Shop::open().await;
    let mut listener = shop.world.listen().await;
    shop.stock("BEANS", 5).await;
    let before = shop.place("BEANS", 1, "pm_card_visa").await;
    let listed = listener.receives("BEANS", &["product.listed"]).await.remove(0);
    let dearer = json!({"name": "BEANS", "price": {"amount_minor": 1200, "currency": "EUR"}});
    assert_eq!(shop.list("BEANS", &dearer).await.0, 200);
    let total = async || {
        let order = place_at(&shop[Service::Order], &order_of("BEANS", 1, "pm_card_visa")).await;
        order["total"]["amount_minor"].clone()
    };
    eventually("the new price", async || {
        let total = total().await;
        if total == 1200 { Ok(()) } else { Err(total) }
    })
    .await;

    // Published again as if it were late; the mug behind it shows that it was consumed.
    shop.world.publish(&contracts::Envelope { id: runtime::clock::new_id(), ..listed }).await;
    shop.stock("MUG", 0).await;
    assert_eq!(total().await, 1200);
    shop.check().await;
    assert_eq!(shop.order(&before).await["total"]["amount_minor"], 1000);
}

/// Places an order of 2 pieces of `BEANS`, and cancels it when the processor took the money and did not say so. Wants
/// an [`IMPATIENT`] shop.
pub(crate) async fn cancelled_after_the_money_was_taken(shop: &mut Shop) -> String {
    shop.stop(Service::Inventory).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.payment_is(&id, "authorized").await;
    shop.faults(&json!({"timeout_after_effect_rate": 1.0})).await;
    shop.restart(Service::Inventory).await;
    eventually("the money to be taken in silence", async || {
        let charged = shop.charged(&id).await;
        if charged == (0, 2000, 0) { Ok(()) } else { Err(charged) }
    })
    .await;

    assert_eq!(shop.order(&id).await["status"], "confirmed");
    let (status, order) = shop.cancel(&id).await;
    assert_eq!((status, &order["status"]), (202, &json!("cancelled")));
    shop.faults(&json!({})).await;
    id
}

/// The members of each item of a list, as JSON, a line an item.
fn column(list: &Value, members: &[&str]) -> Vec<String> {
    let member = |item: &Value, path: &&str| item.pointer(&format!("/{path}")).expect(path).to_string();
    let items = list.as_array().expect("a list").iter();
    items.map(|item| members.iter().map(|path| member(item, path)).collect::<Vec<_>>().join(" ")).collect()
}
