//! Products after they were listed: corrections of their stock, conditional changes, and the end of their listing.

use serde_json::{Value, json};
use system::Service;
use testkit::eventually;
use testkit::running::answer;

use super::{refused, rows};
use crate::shop::{Shop, order_of};
use reqwest::{RequestBuilder, Response};

const BEANS: &str = "/api/v1/products/BEANS";

fn adjust(shop: &Shop, sku: &str, delta: &Value, reason: &str) -> RequestBuilder {
    let body = json!({"delta": delta, "reason": reason});
    shop[Service::Inventory].post(&format!("/api/v1/products/{sku}/adjust")).json(&body)
}

fn put(shop: &Shop, sku: &str, amount_minor: i64) -> RequestBuilder {
    let product = json!({"name": sku, "price": {"amount_minor": amount_minor, "currency": "EUR"}});
    shop[Service::Inventory].request("PUT", &format!("/api/v1/products/{sku}")).json(&product)
}

fn delete(shop: &Shop, sku: &str) -> RequestBuilder {
    shop[Service::Inventory].request("DELETE", &format!("/api/v1/products/{sku}"))
}

fn place(shop: &Shop) -> RequestBuilder {
    shop[Service::Order].post("/api/v1/orders").json(&order_of("BEANS", 1, "pm_card_visa"))
}

/// Status and `ETag` of the answer.
async fn tagged(request: RequestBuilder) -> (u16, String) {
    let response: Response = request.send().await.expect("an answer");
    let tag = response.headers().get("etag").map(|tag| tag.to_str().expect("text").to_owned());
    (response.status().as_u16(), tag.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_adjustment_is_refused_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    let pool = shop.pool("inventory").await;
    let tables = ["stock_movements", "messaging.outbox", "http_api.idempotency_keys"];
    let before = rows(&pool, &tables).await;
    for delta in
        [json!(0), json!(1_000_001), json!(-1_000_001), json!(1.5), json!("1"), json!(1e30), Value::Null]
    {
        refused(&format!("delta {delta}"), adjust(&shop, "BEANS", &delta, "counted"), 422, "invalid").await;
    }
    for reason in ["", "  ", "\u{200b}\u{2060}", "a\nb", "a\u{0}b", &"x".repeat(201)] {
        refused(&format!("{reason:?}"), adjust(&shop, "BEANS", &json!(1), reason), 422, "invalid").await;
    }
    let path = format!("{BEANS}/adjust");
    let no_reason = shop[Service::Inventory].post(&path).json(&json!({"delta": 1}));
    refused("no reason", no_reason, 422, "invalid").await;
    refused("an unknown product", adjust(&shop, "TEA", &json!(1), "found"), 404, "not-found").await;
    refused("a SKU that cannot be", adjust(&shop, "te%20a", &json!(1), "found"), 400, "malformed").await;
    let problem =
        refused("more than there are", adjust(&shop, "BEANS", &json!(-6), "lost"), 409, "conflict").await;
    assert!(problem["detail"].as_str().expect("a detail").contains("take away 5 at most"), "{problem}");
    assert_eq!(rows(&pool, &tables).await, before);
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_adjusted_once_and_down_to_what_is_reserved() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 5).await;
    // While payment stands still the order keeps what it reserved.
    shop.stop(Service::Payment).await;
    let order = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.stock_is("BEANS", (5, 2)).await;

    let body = json!({"delta": -3, "reason": "broken in transit"});
    let broken = |body: &Value| {
        let request = shop[Service::Inventory].request("POST", &format!("{BEANS}/adjust"));
        request.header("idempotency-key", "stocktaking").json(body)
    };
    let first = answer(broken(&body)).await;
    assert_eq!((first.0, &first.1["on_hand"], &first.1["reserved"]), (200, &json!(2), &json!(2)));
    assert_eq!(answer(broken(&body)).await, first, "the first response again");
    let other = json!({"delta": -2, "reason": "broken in transit"});
    refused("the key of another request", broken(&other), 422, "idempotency-mismatch").await;
    let problem =
        refused("a reserved piece", adjust(&shop, "BEANS", &json!(-1), "lost"), 409, "conflict").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("2 of 2 pieces on hand are reserved for orders"), "{detail}");

    shop.restart(Service::Payment).await;
    shop.order_is(&order, "completed").await;
    shop.stock_is("BEANS", (0, 0)).await;
    let reasons: Vec<(i64, String)> =
        sqlx::query_as("select on_hand_delta, reason from stock_movements where kind = 'adjusted'")
            .fetch_all(&shop.pool("inventory").await)
            .await
            .expect("the ledger");
    assert_eq!(reasons, [(-3, "broken in transit".to_owned())]);
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn product_changes_under_the_etag_of_its_newest_version_only() {
    let shop = Shop::open().await;
    let problem = refused(
        "nothing to match",
        put(&shop, "BEANS", 900).header("if-match", "*"),
        412,
        "precondition-failed",
    );
    let problem = problem.await;
    assert!(problem["detail"].as_str().expect("a detail").contains("without it"), "{problem}");
    assert_eq!(rows(&shop.pool("inventory").await, &["products"]).await["products"], 0);

    assert_eq!(tagged(put(&shop, "BEANS", 900)).await, (201, "\"1\"".to_owned()));
    let get = || shop[Service::Inventory].request("GET", BEANS);
    assert_eq!(tagged(get()).await, (200, "\"1\"".to_owned()));
    let problem = refused("no condition", put(&shop, "BEANS", 950), 428, "precondition-required").await;
    assert!(problem["detail"].as_str().expect("a detail").contains("GET it first"), "{problem}");
    let changed = put(&shop, "BEANS", 950).header("if-match", "\"1\"");
    assert_eq!(tagged(changed).await, (200, "\"2\"".to_owned()));
    for stale in ["\"1\"", "W/\"2\"", "\"3\""] {
        refused(stale, put(&shop, "BEANS", 1).header("if-match", stale), 412, "precondition-failed").await;
        refused(stale, delete(&shop, "BEANS").header("if-match", stale), 412, "precondition-failed").await;
    }
    refused("no tag", put(&shop, "BEANS", 1).header("if-match", "2"), 400, "malformed").await;
    refused("no condition", delete(&shop, "BEANS"), 428, "precondition-required").await;
    let same = put(&shop, "BEANS", 950).header("if-match", "\"1\", \"2\"");
    assert_eq!(tagged(same).await, (200, "\"2\"".to_owned()), "nothing changed");

    let restock = shop[Service::Inventory].post(&format!("{BEANS}/restock")).json(&json!({"quantity": 3}));
    assert_eq!(answer(restock).await.0, 200);
    assert_eq!(tagged(get()).await, (200, "\"2\"".to_owned()), "the stock level has no part in it");
    assert_eq!(tagged(put(&shop, "BEANS", 990).header("if-match", "*")).await, (200, "\"3\"".to_owned()));
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_shows_its_version_as_its_etag() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    let order = shop.order_is(&id, "completed").await;
    let get = shop[Service::Order].request("GET", &format!("/api/v1/orders/{id}"));
    assert_eq!(tagged(get).await, (200, format!("\"{}\"", order["version"])));
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delisted_product_is_not_for_sale_until_it_is_listed_again() {
    let shop = Shop::open().await;
    let mut listener = shop.world.listen().await;
    shop.stock("BEANS", 500).await;
    let listed = listener.receives("BEANS", &["product.listed"]).await.remove(0);
    let before = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.order_is(&before, "completed").await;

    refused("never listed", delete(&shop, "TEA"), 404, "not-found").await;
    refused("never listed", delete(&shop, "TEA").header("if-match", "*"), 412, "precondition-failed").await;
    let delist = || delete(&shop, "BEANS").header("if-match", "\"1\"");
    assert_eq!(answer(delist()).await, (204, Value::Null));
    assert_eq!(answer(delist()).await, (204, Value::Null), "a repeat");
    assert_eq!(answer(delete(&shop, "BEANS")).await.0, 204, "without a condition, too");
    let get = shop[Service::Inventory].request("GET", BEANS);
    refused("delisted", get, 404, "not-found").await;
    assert_eq!(shop[Service::Inventory].get("/api/v1/products").await.1["items"], json!([]));
    refused("delisted", adjust(&shop, "BEANS", &json!(1), "found"), 404, "not-found").await;
    listener.receives("BEANS", &["product.listed", "product.delisted"]).await;
    eventually("the price to go", async || {
        let (status, problem) = answer(place(&shop)).await;
        if problem["type"] == "/problems/unknown-sku" { Ok(()) } else { Err((status, problem)) }
    })
    .await;

    // Published again as if it were late; the mug behind it shows that it was consumed.
    shop.world.publish(&contracts::Envelope { id: runtime::clock::new_id(), ..listed }).await;
    shop.stock("MUG", 0).await;
    refused("delisted", place(&shop), 422, "unknown-sku").await;
    assert_eq!(shop.order(&before).await["total"]["amount_minor"], 2000);

    refused(
        "nothing to match",
        put(&shop, "BEANS", 900).header("if-match", "\"2\""),
        412,
        "precondition-failed",
    )
    .await;
    assert_eq!(tagged(put(&shop, "BEANS", 900)).await, (201, "\"3\"".to_owned()));
    let after = eventually("the price to come back", async || {
        let (status, order) = answer(place(&shop)).await;
        if status == 202 { Ok(order) } else { Err(order) }
    })
    .await;
    assert_eq!(after["total"]["amount_minor"], 900);
    shop.order_is(after["id"].as_str().expect("an id"), "completed").await;
    shop.check().await;
}
