//! The HTTP side of every service: what is refused and how, lists, back-pressure, health and metrics.

mod bad_input;
mod lists;
mod operations;
mod products;
mod restarts;
mod slow_clients;

use std::collections::BTreeMap;

use crate::shop::Shop;
use reqwest::RequestBuilder;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use testkit::eventually;

/// A service refuses the request: a problem of this status and type, with nothing of its inside in it.
async fn refused(what: &str, request: RequestBuilder, status: u16, slug: &str) -> Value {
    let response = request.send().await.expect("an answer");
    let found = response.status().as_u16();
    let media_type = response.headers().get("content-type").map(|value| value.as_bytes().to_vec());
    let body = response.text().await.expect("a body");
    let problem: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{what}: {found}: {body:?}"));
    assert_eq!(
        (found, &problem["type"]),
        (status, &Value::from(format!("/problems/{slug}"))),
        "{what}: {body}"
    );
    assert_eq!(media_type.as_deref(), Some(&b"application/problem+json"[..]), "{what}");
    assert_eq!(problem["status"], status, "{what}");
    assert!(problem["title"].is_string(), "{what}: {body}");
    problem
}

/// How many rows the tables of a service hold.
async fn rows(pool: &PgPool, tables: &[&str]) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for table in tables {
        let count = AssertSqlSafe(format!("select count(*) from {table}"));
        let count: i64 = sqlx::query_scalar(count).fetch_one(pool).await.expect(table);
        rows.insert((*table).to_owned(), count);
    }
    rows
}

/// Lists products at prices of their own, each a SKU, an amount and a currency, and waits until they can be ordered.
async fn list_products(shop: &Shop, products: &[(&str, i64, &str)]) {
    for (sku, amount_minor, currency) in products {
        let price = serde_json::json!({"amount_minor": amount_minor, "currency": currency});
        let product = serde_json::json!({"name": sku, "price": price});
        let (status, body) = shop.list(sku, &product).await;
        assert_eq!(status, 201, "{body}");
    }
    let pool = shop.pool("order").await;
    eventually("the price list", async || {
        let known = rows(&pool, &["prices"]).await["prices"];
        if known == i64::try_from(products.len()).expect("few") { Ok(()) } else { Err(known) }
    })
    .await;
}
