//! Mails: one for each order and kind, whatever the mail server says and whichever event comes first.

use std::collections::BTreeSet;

use crate::shop::Shop;
use crate::shop::{order_of, place_at};
use devstack::SmtpSink;
use serde_json::{Value, json};
use system::Service;
use tempfile::TempDir;
use testkit::eventually;

use crate::saga::{IMPATIENT, cancelled_after_the_money_was_taken};

#[tokio::test(flavor = "multi_thread")]
async fn each_order_gets_one_mail_of_each_kind() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    let refunded = cancelled_after_the_money_was_taken(&mut shop).await;
    let completed = shop.place("BEANS", 1, "pm_card_visa").await;
    let declined = shop.place("BEANS", 1, "pm_card_declined").await;
    shop.check().await;

    let mut expected = BTreeSet::new();
    for (order, kinds) in [
        (&refunded, &["cancelled", "confirmed", "refunded"][..]),
        (&completed, &["confirmed"]),
        (&declined, &["cancelled"]),
    ] {
        let notifications = shop.notifications_of(order).await;
        assert_eq!(notifications.keys().collect::<Vec<_>>(), kinds);
        for notification in notifications.values().filter(|it| it["status"] == "sent") {
            assert_eq!(notification["recipient"], "ada@example.com");
            assert!(notification["sent_at"].is_string(), "{notification}");
            expected.insert(notification["id"].as_str().expect("an id").to_owned());
        }
    }
    let mails = shop.mails.mails().expect("mails");
    let ids: BTreeSet<String> = mails.iter().map(|mail| message_id(mail)).collect();
    assert_eq!((&ids, ids.len()), (&expected, mails.len()));
    let refund = format!("Subject: Your money for order {refunded} is on its way back");
    assert_eq!(mails.iter().filter(|mail| mail.contains("To: ada@example.com")).count(), mails.len());
    assert_eq!(
        mails.iter().filter(|mail| mail.replace("\r\n ", " ").contains(&refund)).count(),
        1,
        "{mails:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn permanently_refused_mail_fails_and_its_order_continues() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let mut listener = shop.world.listen().await;
    let id = place_for(&shop, "ada@reject.example").await;
    shop.order_is(&id, "completed").await;
    let said = listener.receives(&id, &["notification.failed"]).await;
    assert!(
        said.iter().all(|envelope| envelope.event.event_type().name() != "notification.sent"),
        "{said:?}"
    );
    shop.check().await;
    let mail = shop.notifications_of(&id).await["confirmed"].clone();
    assert_eq!(
        (&mail["status"], &mail["attempts"], &mail["sent_at"]),
        (&json!("failed"), &json!(1), &Value::Null)
    );
    assert!(mail["reason"].as_str().is_some_and(|reason| reason.contains("no such mailbox")), "{mail}");
    assert_eq!(shop.mails.mails().expect("mails"), [""; 0]);
    let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
    assert_eq!(summary["notifications"], json!({"sent": 0, "failed": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn deferred_mail_is_retried_until_a_cancellation_drops_it() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    let id = place_for(&shop, "ada@busy.example").await;
    shop.payment_is(&id, "authorized").await;
    shop.faults(&json!({"timeout_rate": 1.0})).await;
    shop.restart(Service::Inventory).await;
    eventually("another attempt", async || {
        let mails = shop.notifications_of(&id).await;
        let again = mails.get("confirmed").is_some_and(|mail| mail["attempts"].as_i64() >= Some(2));
        if again { Ok(()) } else { Err(mails) }
    })
    .await;
    let mail = shop.notifications_of(&id).await["confirmed"].clone();
    assert_eq!((&mail["status"], &mail["sent_at"]), (&json!("queued"), &Value::Null));
    assert!(mail["reason"].as_str().is_some_and(|reason| reason.contains("451")), "{mail}");

    assert_eq!(shop.cancel(&id).await.0, 202);
    eventually("the confirmation to be dropped", async || {
        let mails = shop.notifications_of(&id).await;
        let dropped = mails["confirmed"]["status"] == "dropped";
        if dropped && mails.contains_key("cancelled") { Ok(()) } else { Err(mails) }
    })
    .await;
    assert_eq!(shop.mails.mails().expect("mails"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_wait_for_an_unavailable_mail_server() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let (port, folder) = (shop.mails.address().port(), TempDir::new().expect("a folder"));
    shop.mails = SmtpSink::start(folder.path(), 0).await.expect("another mail server");
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    eventually("an attempt", async || {
        let mails = shop.notifications_of(&id).await;
        let tried = mails.get("confirmed").is_some_and(|mail| mail["attempts"].as_i64() >= Some(1));
        if tried { Ok(()) } else { Err(mails) }
    })
    .await;
    shop.order_is(&id, "completed").await;
    shop.mails = SmtpSink::start(folder.path(), port).await.expect("the mail server is back");
    shop.check().await;
    assert_eq!(shop.notifications_of(&id).await["confirmed"]["status"], "sent");
    assert_eq!(shop.mails.mails().expect("mails").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_mail_server_is_spared_then_gets_each_mail_once() {
    const MAILS: usize = 40;
    let shop = Shop::open_with(&[
        ("SMTP_CONNECTIONS", "2"),
        ("BREAKER_PAUSE", "500ms"),
        ("BREAKER_PAUSE_CAP", "4s"),
    ])
    .await;
    shop.stock("BEANS", 40).await;
    shop.mails.refuse(true);
    for _ in 0..MAILS {
        shop.place("BEANS", 1, "pm_card_visa").await;
    }
    let jobs = shop.pool("notification").await;
    eventually("all mails to have waited for three seconds", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from messaging.jobs where created_at < now() - interval '3 seconds'",
        )
        .fetch_one(&jobs)
        .await
        .expect("counts");
        if waiting == MAILS as i64 { Ok(()) } else { Err(waiting) }
    })
    .await;
    let refused = shop.mails.refused();
    assert!(0 < refused && refused < MAILS as u64, "{refused} refusals of {MAILS} mails");
    let (status, ready) = shop[Service::Notification].operations("/health/parts").await;
    let note = ready["notes"]["mail-server"].as_str().unwrap_or_default();
    assert!(status == 200 && note.ends_with(": the mail server refused for now: 421"), "{status} {ready}");

    shop.mails.refuse(false);
    shop.check().await;
    assert_eq!(shop.mails.mails().expect("mails").len(), MAILS);
    let (status, parts) = shop[Service::Notification].operations("/health/parts").await;
    assert_eq!((status, &parts["notes"]), (200, &json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_waits_for_the_address_and_overtaken_confirmation_is_dropped() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Notification).await;
    let id = cancelled_after_the_money_was_taken(&mut shop).await;
    let confirmed = shop.world.hold("notification.events").await;
    let cancelled = shop.world.hold("notification.events").await;
    let held = [&confirmed, &cancelled].map(|held| held.envelope.event.event_type().name());
    assert_eq!(held, ["order.confirmed", "order.cancelled"]);
    shop.restart(Service::Notification).await;
    let waiting = eventually("the refund to wait", async || {
        let mails = shop.notifications_of(&id).await;
        mails.get("refunded").cloned().ok_or(mails)
    })
    .await;
    assert_eq!((&waiting["status"], &waiting["recipient"]), (&json!("waiting"), &Value::Null));

    cancelled.release().await;
    for kind in ["cancelled", "refunded"] {
        eventually(&format!("the mail that it is {kind}"), async || {
            let mails = shop.notifications_of(&id).await;
            if mails.get(kind).is_some_and(|mail| mail["status"] == "sent") { Ok(()) } else { Err(mails) }
        })
        .await;
    }
    confirmed.release().await;
    shop.check().await;
    assert_eq!(shop.notifications_of(&id).await["confirmed"]["status"], "dropped");
    assert_eq!(shop.mails.mails().expect("mails").len(), 2);
}

/// Places an order of a piece of `BEANS` for someone with this address.
async fn place_for(shop: &Shop, email: &str) -> String {
    let mut order = order_of("BEANS", 1, "pm_card_visa");
    order["customer"]["email"] = json!(email);
    place_at(&shop[Service::Order], &order).await["id"].as_str().expect("an id").to_owned()
}

/// The part of a mail's Message-ID before our domain.
fn message_id(mail: &str) -> String {
    let line = mail.lines().find_map(|line| line.strip_prefix("Message-ID: <")).expect("a Message-ID");
    line.split_once("@order-saga.example>").expect("at our domain").0.to_owned()
}
