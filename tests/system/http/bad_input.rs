//! Requests that are wrong: each is told why, in a form that a program can rely on, and nothing is written.

use crate::shop::Shop;
use crate::shop::order_of;
use serde_json::{Value, json};
use system::Service;
use testkit::running::{Running, answer};

use super::{list_products, refused, rows};

const ORDERS: &str = "/api/v1/orders";

#[tokio::test(flavor = "multi_thread")]
async fn invalid_order_is_refused_and_leaves_no_row() {
    let shop = Shop::open().await;
    list_products(
        &shop,
        &[
            ("BEANS", 1000, "EUR"),
            ("CUPS", 500, "USD"),
            ("YACHT", i64::MAX / 100, "EUR"),
            ("ISLAND", i64::MAX, "EUR"),
        ],
    )
    .await;
    let pool = shop.pool("order").await;
    let tables = ["orders", "order_events", "messaging.outbox", "http_api.idempotency_keys"];
    let before = rows(&pool, &tables).await;

    for (what, body, slug) in [bad_orders(), bad_customers(), orders_by_position()].concat() {
        let request =
            shop[Service::Order].request("POST", ORDERS).header("idempotency-key", what).json(&body);
        refused(what, request, 422, slug).await;
    }
    let unknown = json!([{"sku": "TEA", "quantity": 1}, {"sku": "BEANS", "quantity": 1}, {"sku": "MILK", "quantity": 1}]);
    let request = shop[Service::Order].post(ORDERS).json(&with("lines", unknown));
    let problem = refused("unknown SKUs", request, 422, "unknown-sku").await;
    assert_eq!(problem["skus"], json!(["MILK", "TEA"]));

    assert_eq!(rows(&pool, &tables).await, before);
    shop.check().await;
}

fn bad_orders() -> Vec<(&'static str, Value, &'static str)> {
    let line = |quantity: Value| with("lines", json!([{"sku": "BEANS", "quantity": quantity}]));
    let lines = |lines: &[(&str, i64)]| {
        let line = |(sku, quantity): &(&str, i64)| json!({"sku": sku, "quantity": quantity});
        with("lines", lines.iter().map(line).collect())
    };
    let many: Vec<Value> =
        (0..51).map(|number| json!({"sku": format!("SKU-{number}"), "quantity": 1})).collect();
    let price = json!({"amount_minor": 1, "currency": "EUR"});
    vec![
        ("no object", json!([]), "invalid"),
        ("nothing in it", json!({}), "invalid"),
        ("no lines at all", with("lines", Value::Null), "invalid"),
        ("a member nobody knows", with("coupon", json!("FREE")), "invalid"),
        (
            "a price of the client's",
            with("lines", json!([{"sku": "BEANS", "quantity": 1, "unit_price": &price}])),
            "invalid",
        ),
        ("a total of the client's", with("total", price), "invalid"),
        ("quantity zero", line(json!(0)), "invalid"),
        ("a negative quantity", line(json!(-1)), "invalid"),
        ("a quantity too large", line(json!(1001)), "invalid"),
        ("a quantity beyond 64 bits", line(json!(1e30)), "invalid"),
        ("half a piece", line(json!(0.5)), "invalid"),
        ("a quantity as text", line(json!("1")), "invalid"),
        ("a SKU that cannot be", lines(&[("beans", 1)]), "invalid"),
        ("an empty SKU", lines(&[("", 1)]), "invalid"),
        ("no line", lines(&[]), "line-count"),
        ("51 lines", with("lines", Value::from(many)), "line-count"),
        ("a SKU twice", lines(&[("BEANS", 1), ("CUPS", 1), ("BEANS", 2)]), "repeated-sku"),
        ("an unknown SKU", lines(&[("TEA", 1)]), "unknown-sku"),
        ("two currencies", lines(&[("BEANS", 1), ("CUPS", 1)]), "several-currencies"),
        ("a line too expensive", lines(&[("YACHT", 101)]), "total-too-large"),
        ("a sum too expensive", lines(&[("ISLAND", 1), ("BEANS", 1)]), "total-too-large"),
        ("a payment method with a space", with("payment_method", json!("pm gold")), "invalid"),
    ]
}

fn bad_customers() -> Vec<(&'static str, Value, &'static str)> {
    let customer = |id: &str, email: &str| with("customer", json!({"id": id, "email": email}));
    let email = |email: &str| customer("customer-1", email);
    vec![
        ("no mail address", email("nowhere"), "invalid"),
        ("a part of the domain too long", email(&format!("a@{}.com", "b".repeat(64))), "invalid"),
        ("a hyphen before the domain", email("a@-example.com"), "invalid"),
        ("a hyphen after a part of the domain", email("a@example-.com"), "invalid"),
        ("braces in the domain", email("a@{example}.com"), "invalid"),
        ("a line break in the mail address", email("ada@example.com\r\nBcc: all@example.com"), "invalid"),
        (
            "a field of the customer that nobody knows",
            with("customer", json!({"id": "c-1", "email": "ada@example.com", "vip": true})),
            "invalid",
        ),
        ("a customer without an id", customer("", "ada@example.com"), "invalid"),
        ("a null byte", customer("a\u{0}b", "ada@example.com"), "invalid"),
    ]
}

/// Orders with an array where an object belongs.
fn orders_by_position() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "members by position",
            json!([["customer-1", "ada@example.com"], [["BEANS", 1]], "pm_card_visa", null]),
            "invalid",
        ),
        ("a customer by position", with("customer", json!(["customer-1", "ada@example.com"])), "invalid"),
        ("a line by position", with("lines", json!([["BEANS", 1]])), "invalid"),
        ("a total by position", with("expected_total", json!([1000, "EUR"])), "invalid"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_body_is_refused_by_every_route() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let inventory = shop.pool("inventory").await;
    let tables = ["products", "stock_movements", "messaging.outbox", "http_api.idempotency_keys"];
    let before = rows(&inventory, &tables).await;
    let product = json!({"name": "Beans", "price": {"amount_minor": 1, "currency": "EUR"}});
    let takers = [
        (&shop[Service::Order], "POST", ORDERS, order_of("BEANS", 1, "pm_card_visa")),
        (&shop[Service::Inventory], "PUT", "/api/v1/products/BEANS", product),
        (&shop[Service::Inventory], "POST", "/api/v1/products/BEANS/restock", json!({"quantity": 1})),
        (
            &shop[Service::Inventory],
            "POST",
            "/api/v1/products/BEANS/adjust",
            json!({"delta": 1, "reason": "found"}),
        ),
    ];
    for (service, method, path, good) in takers {
        let request = |content_type: &str, body: &str| {
            let request = service.request(method, path).header("idempotency-key", "k");
            request.header("content-type", content_type).body(body.to_owned())
        };
        let json = "application/json";
        refused("nothing", request(json, ""), 400, "malformed").await;
        refused("half an object", request(json, "{"), 400, "malformed").await;
        refused("not JSON", request(json, "quantity=1"), 400, "malformed").await;
        refused("two objects", request(json, &format!("{good} {{}}")), 400, "malformed").await;
        refused(
            "a form",
            request("application/x-www-form-urlencoded", "quantity=1"),
            415,
            "unsupported-media-type",
        )
        .await;
        refused("text", request("text/plain", &good.to_string()), 415, "unsupported-media-type").await;
        let long = format!("{{\"name\": \"{}\"}}", "x".repeat(64 * 1024));
        refused("too long", request(json, &long), 413, "too-large").await;
    }
    assert_eq!(rows(&inventory, &tables).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_idempotency_key_is_refused() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let order = order_of("BEANS", 1, "pm_card_visa");
    let restock = json!({"quantity": 1});
    let adjust = json!({"delta": 1, "reason": "found"});
    let takers = [
        (&shop[Service::Order], ORDERS, &order),
        (&shop[Service::Inventory], "/api/v1/products/BEANS/restock", &restock),
        (&shop[Service::Inventory], "/api/v1/products/BEANS/adjust", &adjust),
    ];
    for (service, path, body) in takers {
        let request = || service.request("POST", path).json(body);
        let problem = refused("no key", request(), 400, "malformed").await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains("needs an Idempotency-Key"), "{detail}");
        for (what, key) in [
            ("empty", String::new()),
            ("too long", "k".repeat(256)),
            ("a tab", "a\tb".to_owned()),
            ("not ASCII", "clé".to_owned()),
        ] {
            refused(what, request().header("idempotency-key", key), 400, "malformed").await;
        }
        let twice = request().header("idempotency-key", "a").header("idempotency-key", "b");
        refused("two keys", twice, 400, "malformed").await;
        let (status, body) = answer(request().header("idempotency-key", "k".repeat(255))).await;
        assert!(status < 300, "the longest key is taken: {body}");
    }
    shop.check().await;
    assert_eq!(shop.stock_of("BEANS").await, (2, 0), "one restocked, one found, one sold");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_refused_order_can_be_reused() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let request = |sku| {
        shop[Service::Order].request("POST", ORDERS).header("idempotency-key", "k").json(&order_of(
            sku,
            1,
            "pm_card_visa",
        ))
    };
    refused("unknown", request("TEA"), 422, "unknown-sku").await;
    let (status, body) = answer(request("BEANS")).await;
    assert_eq!(status, 202, "{body}");
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_product_or_restock_is_refused_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let pool = shop.pool("inventory").await;
    let tables = ["products", "stock", "stock_movements", "messaging.outbox", "http_api.idempotency_keys"];
    let before = rows(&pool, &tables).await;
    let product = |name: &str, amount: Value, currency: &str| json!({"name": name, "price": {"amount_minor": amount, "currency": currency}});
    let put = |sku: &str, body: &Value| {
        shop[Service::Inventory].request("PUT", &format!("/api/v1/products/{sku}")).json(body)
    };
    for (what, body) in [
        ("no name", product("", json!(1), "EUR")),
        ("a name of spaces", product("  ", json!(1), "EUR")),
        ("a name that shows nothing", product("\u{200b}\u{feff}\u{3164}", json!(1), "EUR")),
        ("a name too long", product(&"x".repeat(201), json!(1), "EUR")),
        ("a line break", product("a\nb", json!(1), "EUR")),
        ("no price", product("Beans", json!(0), "EUR")),
        ("a negative price", product("Beans", json!(-1), "EUR")),
        ("a price with a point", product("Beans", json!(9.99), "EUR")),
        ("a price beyond 64 bits", product("Beans", json!(1e30), "EUR")),
        ("no currency", product("Beans", json!(1), "euro")),
        ("members by position", json!(["Beans", {"amount_minor": 1, "currency": "EUR"}])),
        ("a price by position", json!({"name": "Beans", "price": [1, "EUR"]})),
        ("stock", json!({"name": "Beans", "price": {"amount_minor": 1, "currency": "EUR"}, "on_hand": 5})),
    ] {
        refused(what, put("BEANS", &body), 422, "invalid").await;
    }
    let good = product("Beans", json!(1), "EUR");
    refused("a SKU that cannot be", put("beans", &good), 400, "malformed").await;
    refused("a SKU too long", put(&"X".repeat(65), &good), 400, "malformed").await;

    let restock = |sku: &str, body: Value| {
        shop[Service::Inventory].post(&format!("/api/v1/products/{sku}/restock")).json(&body)
    };
    for quantity in [json!(0), json!(-1), json!(1_000_001), json!(1.5), json!("1"), json!(1e30), Value::Null]
    {
        let what = format!("quantity {quantity}");
        refused(&what, restock("BEANS", json!({"quantity": quantity})), 422, "invalid").await;
    }
    refused("a restock by position", restock("BEANS", json!([5])), 422, "invalid").await;
    refused("an unknown product", restock("TEA", json!({"quantity": 1})), 404, "not-found").await;
    refused("a SKU that cannot be", restock("te%20a", json!({"quantity": 1})), 400, "malformed").await;
    assert_eq!(rows(&pool, &tables).await, before);
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn list_refuses_an_unknown_query() {
    let shop = Shop::open().await;
    for (service, list) in [
        (&shop[Service::Order], "/api/v1/orders"),
        (&shop[Service::Payment], "/api/v1/payments"),
        (&shop[Service::Inventory], "/api/v1/products"),
        (&shop[Service::Notification], "/api/v1/notifications"),
    ] {
        // The last two cursors are base64, and the very last of JSON, but of a key of no list.
        let queries = [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=ten",
            "page=2",
            "cursor=!",
            "cursor=AAAA",
            "cursor=e30",
        ];
        for query in queries {
            check(service, "GET", &format!("{list}?{query}"), 400, "malformed").await;
        }
    }
    check(&shop[Service::Order], "GET", "/api/v1/orders?status=lost", 400, "malformed").await;
    check(&shop[Service::Order], "GET", "/api/v1/orders?customer_id=a%20b", 400, "malformed").await;
    check(&shop[Service::Payment], "GET", "/api/v1/payments?status=lost", 400, "malformed").await;
    check(&shop[Service::Notification], "GET", "/api/v1/notifications?order_id=one", 400, "malformed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_unknown_ids_get_different_problems() {
    let shop = Shop::open().await;
    let nobody = runtime::clock::new_id();
    for (service, method, path) in [
        (&shop[Service::Order], "GET", "/api/v1/orders/{id}"),
        (&shop[Service::Order], "GET", "/api/v1/orders/{id}/timeline"),
        (&shop[Service::Order], "POST", "/api/v1/orders/{id}/cancel"),
        (&shop[Service::Payment], "GET", "/api/v1/payments/{id}"),
        (&shop[Service::Inventory], "GET", "/api/v1/reservations/{id}"),
    ] {
        check(service, method, &path.replace("{id}", "one"), 400, "malformed").await;
        check(service, method, &path.replace("{id}", "%00"), 400, "malformed").await;
        check(service, method, &path.replace("{id}", &nobody.to_string()), 404, "not-found").await;
    }
    check(&shop[Service::Inventory], "GET", "/api/v1/products/beans", 400, "malformed").await;
    check(&shop[Service::Inventory], "GET", "/api/v1/products/BEANS", 404, "not-found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_in_another_spelling_is_the_same_id() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&id, "completed").await;
    shop.check().await;
    for (service, path, member) in [
        (Service::Order, "/api/v1/orders/{id}", "/id"),
        (Service::Order, "/api/v1/orders/{id}/timeline", "/order_id"),
        (Service::Payment, "/api/v1/payments/{id}", "/order_id"),
        (Service::Inventory, "/api/v1/reservations/{id}", "/order_id"),
        (Service::Notification, "/api/v1/notifications?order_id={id}", "/items/0/order_id"),
    ] {
        let answer_to = async |id: &str| shop[service].get(&path.replace("{id}", id)).await;
        let expected = answer_to(&id).await;
        assert_eq!((expected.0, &expected.1.pointer(member)), (200, &Some(&json!(id))), "{path}");
        for other in [id.to_uppercase(), id.replace('-', ""), format!("%7B{id}%7D"), format!("urn:uuid:{id}")]
        {
            assert_eq!(answer_to(&other).await, expected, "{path}: {other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_path_or_method_is_a_problem() {
    let shop = Shop::open().await;
    for (service, path) in [
        (&shop[Service::Order], "/api/v1/orders"),
        (&shop[Service::Payment], "/api/v1/payments"),
        (&shop[Service::Inventory], "/api/v1/products"),
        (&shop[Service::Notification], "/api/v1/notifications"),
        (&shop[Service::Analytics], "/api/v1/summary"),
    ] {
        check(service, "DELETE", path, 405, "method-not-allowed").await;
        check(service, "GET", &format!("{path}/a/b/c"), 404, "not-found").await;
        check(service, "GET", "/", 404, "not-found").await;
    }
    for (_, program) in shop.programs() {
        for path in ["/health/live", "/health/ready", "/health/parts", "/metrics"] {
            check(program, "GET", path, 404, "not-found").await;
        }
    }
}

async fn check(service: &Running, method: &str, path: &str, status: u16, slug: &str) {
    refused(&format!("{method} {path}"), service.request(method, path), status, slug).await;
}

/// An order that would be taken but for this member.
fn with(member: &str, value: Value) -> Value {
    let mut order = order_of("BEANS", 1, "pm_card_visa");
    order[member] = value;
    order
}
