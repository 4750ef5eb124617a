//! Many at once: orders for the last piece, requests with one key, replicas of every service.

use std::collections::BTreeSet;

use crate::shop::Shop;
use crate::shop::{order_of, place_at};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use serde_json::{Value, json};
use system::Service;
use testkit::eventually;
use testkit::running::{Running, patient_answer};

#[tokio::test(flavor = "multi_thread")]
async fn two_orders_for_the_last_item_complete_exactly_one() {
    let shop = Shop::open().await;
    for round in 0..5 {
        let sku = format!("LAST-{round}");
        shop.stock(&sku, 1).await;
        let placed = tokio::join!(shop.place(&sku, 1, "pm_card_visa"), shop.place(&sku, 1, "pm_card_visa"));
        let ends = [ended(&shop, &placed.0).await, ended(&shop, &placed.1).await];
        let completed = ends.iter().filter(|order| order["status"] == "completed").count();
        let refused = ends.iter().filter(|order| order["reason"] == "out_of_stock").count();
        assert_eq!((completed, refused), (1, 1), "{ends:?}");
        assert_eq!(shop.stock_of(&sku).await, (0, 0));
    }
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_orders_for_50_items_complete_exactly_50() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 50).await;
    let orders: Vec<String> = stream::iter(0..200)
        .map(|_| shop.place("BEANS", 1, "pm_card_visa"))
        .buffer_unordered(40)
        .collect()
        .await;
    assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), 200);
    shop.check().await;

    assert_eq!(shop.stock_of("BEANS").await, (0, 0));
    let (_, summary) = shop[Service::Analytics].get("/api/v1/summary").await;
    assert_eq!(summary["orders"]["completed"], 50);
    assert_eq!(summary["orders"]["cancelled_by_reason"], json!({"out_of_stock": 150}));
    let (_, report) = shop.provider.get("/v1/report").await;
    let totals = &report["totals"]["EUR"];
    assert_eq!((&totals["held_minor"], &totals["captured_minor"]), (&json!(0), &json!(50_000)), "{totals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_sent_50_times_places_one_order_with_identical_responses() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 100).await;
    let body = order_of("BEANS", 1, "pm_card_visa");
    let answers = at_once(&shop[Service::Order], "/api/v1/orders", "the-key", &body).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (status, location, order) = answers.first().expect("an answer").clone();
    let order: Value = serde_json::from_slice(&order).expect("JSON");
    let id = order["id"].as_str().expect("an id");
    assert_eq!((status, location), (202, Some(format!("/api/v1/orders/{id}"))));

    // The answer stays what it was, whatever became of the order.
    shop.order_is(id, "completed").await;
    assert_eq!(at_once(&shop[Service::Order], "/api/v1/orders", "the-key", &body).await, answers);
    let other =
        at_once(&shop[Service::Order], "/api/v1/orders", "the-key", &order_of("BEANS", 2, "pm_card_visa"))
            .await;
    assert!(other.iter().all(|(status, _, body)| *status == 422 && is_mismatch(body)), "{other:?}");
    let (_, orders) = shop[Service::Order].get("/api/v1/orders").await;
    assert_eq!(orders["items"].as_array().map(Vec::len), Some(1));
    shop.check().await;
    assert_eq!(shop.stock_of("BEANS").await, (99, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn restock_key_sent_50_times_adds_stock_once() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 0).await;
    shop.stock("CUPS", 0).await;
    let path = "/api/v1/products/BEANS/restock";
    let answers = at_once(&shop[Service::Inventory], path, "the-key", &json!({"quantity": 7})).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().expect("an answer").0, 200);
    assert_eq!(shop.stock_of("BEANS").await, (7, 0));
    // Another amount and another product are other requests.
    for (path, quantity) in [(path, 8), ("/api/v1/products/CUPS/restock", 7)] {
        let other = at_once(&shop[Service::Inventory], path, "the-key", &json!({"quantity": quantity})).await;
        assert!(other.iter().all(|(status, _, body)| *status == 422 && is_mismatch(body)), "{other:?}");
    }
    assert_eq!((shop.stock_of("BEANS").await, shop.stock_of("CUPS").await), ((7, 0), (0, 0)));
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_racing_the_completion_is_accepted_or_refused() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 20).await;
    let place_and_cancel = async || {
        let id = shop.place("BEANS", 1, "pm_card_visa").await;
        eventually("the order to be confirmed", async || {
            let order = shop.order(&id).await;
            if order["status"] == "pending" { Err(order) } else { Ok(()) }
        })
        .await;
        let (first, second) = tokio::join!(shop.cancel(&id), shop.cancel(&id));
        (id, [first.0, second.0])
    };
    let cancelled = join_all((0..20).map(|_| place_and_cancel())).await;
    shop.check().await;
    for (id, answers) in cancelled {
        let order = shop.order(&id).await;
        let expected = if order["status"] == "completed" { 409 } else { 202 };
        assert_eq!(answers, [expected; 2], "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_the_work_and_repeat_nothing() {
    let shop = Shop::open().await;
    let mut replicas = Vec::new();
    for service in Service::ALL.iter().copied() {
        replicas.push(shop.start(service).await);
    }
    for replica in &replicas {
        replica.ready().await;
    }
    shop.stock("BEANS", 30).await;
    let methods = ["pm_card_visa", "pm_card_visa", "pm_card_declined", "pm_capture_fails"];
    let doors = [&shop[Service::Order], &replicas[0]];
    let place = async |number: usize| {
        let order = order_of("BEANS", 1, methods[number % methods.len()]);
        let order = place_at(doors[number % 2], &order).await;
        if number.is_multiple_of(5) {
            let cancel = format!("/api/v1/orders/{}/cancel", order["id"].as_str().expect("an id"));
            patient_answer(doors[(number + 1) % 2].request("POST", &cancel)).await;
        }
    };
    stream::iter(0..60).map(place).buffer_unordered(20).collect::<Vec<()>>().await;
    shop.check().await;
}

/// Status, location and body of an answer.
type Answer = (u16, Option<String>, Vec<u8>);

/// The different answers to one request that is sent 50 times at once, and by each again while the service is busy.
async fn at_once(service: &Running, path: &str, key: &str, body: &Value) -> BTreeSet<Answer> {
    let send = async || {
        eventually("an answer other than 503", async || {
            let request = service.request("POST", path).header("idempotency-key", key).json(body);
            let response = request.send().await.expect("an answer");
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let (status, location) = (response.status().as_u16(), location.map(str::to_owned));
            let answer: Answer = (status, location, response.bytes().await.expect("a body").to_vec());
            if status == 503 { Err(answer) } else { Ok(answer) }
        })
        .await
    };
    join_all((0..50).map(|_| send())).await.into_iter().collect()
}

fn is_mismatch(body: &[u8]) -> bool {
    let problem: Value = serde_json::from_slice(body).expect("JSON");
    problem["type"] == "/problems/idempotency-mismatch"
}

/// The order once it is completed or cancelled.
async fn ended(shop: &Shop, id: &str) -> Value {
    eventually("the order to end", async || {
        let order = shop.order(id).await;
        if ["completed", "cancelled"].map(Value::from).contains(&order["status"]) {
            Ok(order)
        } else {
            Err(order)
        }
    })
    .await
}
