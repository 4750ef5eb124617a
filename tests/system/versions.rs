//! A later version of an event beside the one that this build publishes: an order service with an extended table of
//! versions reads both, from its queue, from the messages that wait for it and from its event log.

use contracts::{
    Envelope, Event, Money, OrderId, PaymentAuthorized, PaymentCaptured, PaymentVoided, Versions,
};
use messaging::dead_letters::{self, Which};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use system::Service;
use testkit::eventually;
use testkit::facts::envelope;
use testkit::raw_publisher::RawPublisher;
use uuid::Uuid;

use crate::shop::Shop;

/// Version 2 of `payment.authorized`: `amount` is called `held`, and the card is named.
fn extended() -> Versions<Event> {
    Versions::current().with("payment.authorized", 2, |data| {
        let mut data: Value = serde_json::from_str(data)?;
        data["amount"] = data["held"].take();
        serde_json::from_value::<PaymentAuthorized>(data).map(Event::from)
    })
}

/// An order service that reads version 2, in a shop whose payment service is played by the test.
struct Stage {
    shop: Shop,
    publisher: RawPublisher,
}

impl Stage {
    async fn set() -> Self {
        let mut shop = Shop::open().await;
        shop.stock("BEANS", 10).await;
        let first = shop.place("BEANS", 1, "pm_card_visa").await;
        shop.order_is(&first, "completed").await;
        shop.stop(Service::Payment).await;
        let publisher = RawPublisher::open(&shop.world).await;
        Self { shop, publisher }
    }

    async fn upgrade_order(&mut self) {
        self.shop
            .replace(Service::Order, |config, listener, shutdown| {
                order::run_with(extended(), config, listener, shutdown)
            })
            .await;
    }

    async fn publish_authorized_v2(&self, order: &str) {
        let event = PaymentAuthorized { order_id: id(order), payment_id: Uuid::nil(), amount: ten_euros() };
        let envelope = envelope(event, 1);
        let mut body: Value = serde_json::from_str(&envelope.to_json().expect("encodes")).expect("is JSON");
        body["type"] = "payment.authorized.v2".into();
        body["data"]["held"] = body["data"]["amount"].take();
        body["data"]["card"] = "**** 4242".into();
        let (key, body) = ("payment.authorized", body.to_string());
        self.publisher.send("domain.events", key, &envelope.id.to_string(), body.as_bytes()).await;
    }

    async fn publish(&self, event: impl Into<Event>, aggregate_version: i64) {
        let envelopes: [Envelope; 1] = [envelope(event, aggregate_version)];
        self.publisher.publish(&envelopes).await;
    }

    /// Waits until the message waits for a build that supports it.
    async fn one_waits(&self) {
        let pool = self.shop.pool("order").await;
        eventually("a message that waits", async || {
            let mut conn = pool.acquire().await.expect("a connection");
            let waiting = dead_letters::list(&mut conn, Which::Waiting).await.expect("a list");
            match waiting.as_slice() {
                [message] if message.class == "not_for_this_build" && message.attempts == 0 => Ok(()),
                _ => Err(waiting),
            }
        })
        .await;
    }

    /// Makes the stored `payment.authorized` of the order what a build that writes version 2 would have stored.
    async fn store_as_v2(&self, order: &str) {
        let rewrite = AssertSqlSafe(format!(
            "alter table order_events disable trigger user;
             update order_events set schema_version = 2,
                 data = data - 'amount' || jsonb_build_object('held', data -> 'amount')
             where order_id = '{order}' and type = 'payment.authorized';
             alter table order_events enable trigger user"
        ));
        sqlx::raw_sql(rewrite).execute(&self.shop.pool("order").await).await.expect("rewritten");
    }

    /// Waits until the timeline of the order shows the authorization.
    async fn timeline_has_authorized(&self, order: &str) {
        eventually("payment.authorized in the timeline", async || {
            let timeline = self.shop.timeline(order).await;
            let mut facts = timeline["facts"].as_array().into_iter().flatten();
            if facts.any(|fact| fact["event"] == "payment.authorized") { Ok(()) } else { Err(timeline) }
        })
        .await;
    }

    async fn pass_deadline(&self, order: &str) {
        let late = AssertSqlSafe(format!(
            "update orders set placed_at = placed_at - interval '1 h', deadline_at = placed_at - interval '1 min',
                 latest_deadline_at = placed_at - interval '1 min'
             where id = '{order}'"
        ));
        sqlx::query(late).execute(&self.shop.pool("order").await).await.expect("late");
    }
}

fn id(order: &str) -> OrderId {
    OrderId(order.parse().expect("an id"))
}

fn ten_euros() -> Money {
    Money { amount_minor: 1000, currency: "EUR".parse().expect("a currency") }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_later_version_waits_for_the_upgrade() {
    let mut stage = Stage::set().await;
    let order = stage.shop.place("BEANS", 1, "pm_card_visa").await;
    stage.publish_authorized_v2(&order).await;
    stage.one_waits().await;

    stage.upgrade_order().await;
    stage.shop.order_is(&order, "confirmed").await;
    let captured = PaymentCaptured { order_id: id(&order), payment_id: Uuid::nil(), amount: ten_euros() };
    stage.publish(captured, 2).await;
    stage.shop.order_is(&order, "completed").await;
    stage.timeline_has_authorized(&order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_stored_listed_cancelled_and_timed_out() {
    let mut stage = Stage::set().await;
    stage.upgrade_order().await;
    let cancelled = stage.shop.place("BEANS", 1, "pm_card_visa").await;
    stage.publish_authorized_v2(&cancelled).await;
    stage.shop.order_is(&cancelled, "confirmed").await;
    stage.store_as_v2(&cancelled).await;
    assert_eq!(stage.shop.cancel(&cancelled).await.0, 202);
    stage.publish(PaymentVoided { order_id: id(&cancelled), payment_id: Uuid::nil() }, 2).await;
    let order = stage.shop.order_is(&cancelled, "cancelled").await;
    assert_eq!(order["reason"], "customer_request");

    stage.shop.stop(Service::Inventory).await;
    let late = stage.shop.place("BEANS", 1, "pm_card_visa").await;
    stage.publish_authorized_v2(&late).await;
    stage.timeline_has_authorized(&late).await;
    stage.store_as_v2(&late).await;
    stage.pass_deadline(&late).await;
    stage.shop.cancelled_as(&late, "timed_out").await;
    stage.shop.restart(Service::Inventory).await;
    stage.publish(PaymentVoided { order_id: id(&late), payment_id: Uuid::nil() }, 2).await;
    assert_eq!(stage.shop.order_is(&late, "cancelled").await["reason"], "timed_out");

    let (_, page) = stage.shop[Service::Order].get("/api/v1/orders").await;
    let listed: Vec<&Value> = page["items"].as_array().into_iter().flatten().collect();
    assert_eq!(listed.len(), 3, "{page}");
    for order in listed {
        stage.timeline_has_authorized(order["id"].as_str().expect("an id")).await;
    }
}
