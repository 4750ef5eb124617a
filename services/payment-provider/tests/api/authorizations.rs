//! Holding, taking and giving back; once for each key.

use serde_json::{Value, json};

use crate::support::{Provider, check_problem, order};

const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";

#[tokio::test]
async fn an_amount_is_held_taken_and_given_back() {
    let provider = Provider::quick().await;
    let held = provider.authorize("hold", "pm_card_visa").await;
    assert_eq!((held.status, &held.body["status"]), (201, &json!("authorized")));
    assert_eq!(held.body["merchant_reference"], "order-1");
    let id = held.body["id"].as_str().unwrap();
    assert_eq!(provider.totals().await, (500, 0, 0));

    let taken = provider.change("take", id, "capture").await;
    assert_eq!((taken.status, &taken.body["status"]), (200, &json!("captured")));
    assert_eq!(provider.totals().await, (0, 500, 0));

    let back = provider.change("back", id, "refund").await;
    assert_eq!((back.status, &back.body["status"]), (200, &json!("refunded")));
    assert_eq!(provider.totals().await, (0, 500, 500));
}

#[tokio::test]
async fn a_hold_is_given_up() {
    let provider = Provider::quick().await;
    let id = provider.authorized("hold", "pm_card_visa").await;
    assert_eq!(provider.change("drop", &id, "void").await.body["status"], "voided");
    assert_eq!(provider.totals().await, (0, 0, 0));
}

#[tokio::test]
async fn a_bank_that_says_no_says_why() {
    let provider = Provider::quick().await;
    for (method, code) in [
        ("pm_card_declined", "card_declined"),
        ("pm_insufficient_funds", "insufficient_funds"),
        ("pm_monopoly_money", "unknown_payment_method"),
    ] {
        let answer = provider.authorize(method, method).await;
        check_problem(&answer, 402, "declined");
        assert_eq!(answer.body["code"], code);
        assert_eq!(provider.authorize(method, method).await, answer);
    }
    let id = provider.authorized("hold", "pm_capture_fails").await;
    let answer = provider.change("take", &id, "capture").await;
    check_problem(&answer, 402, "declined");
    assert_eq!(answer.body["code"], "capture_failed");
    assert_eq!(provider.totals().await, (500, 0, 0));
}

#[tokio::test]
async fn what_the_state_does_not_allow_is_409_with_a_code() {
    let provider = Provider::quick().await;
    let id = provider.authorized("hold", "pm_card_visa").await;
    let answer = provider.change("back", &id, "refund").await;
    check_problem(&answer, 409, "conflict");
    assert_eq!(answer.body["code"], "authorization_authorized");
    provider.change("take", &id, "capture").await;
    assert_eq!(provider.change("drop", &id, "void").await.body["code"], "authorization_captured");
}

#[tokio::test]
async fn an_authorization_that_does_not_exist_is_404() {
    let provider = Provider::quick().await;
    for operation in ["capture", "void", "refund"] {
        check_problem(&provider.change("key", UNKNOWN, operation).await, 404, "not-found");
    }
    check_problem(&provider.change("key", "seven", "void").await, 400, "malformed");
}

#[tokio::test]
async fn the_same_key_and_call_get_the_same_answer() {
    let provider = Provider::quick().await;
    let first = provider.authorize("hold", "pm_card_visa").await;
    let id = first.body["id"].as_str().unwrap();
    let taken = provider.change("take", id, "capture").await;
    assert_eq!(provider.change("take", id, "capture").await, taken);
    assert_eq!(provider.authorize("hold", "pm_card_visa").await, first);
    assert_eq!(provider.totals().await, (0, 500, 0));
}

#[tokio::test]
async fn calls_of_one_key_at_once_take_effect_once() {
    let provider = Provider::quick().await;
    let (a, b, c) = tokio::join!(
        provider.authorize("hold", "pm_card_visa"),
        provider.authorize("hold", "pm_card_visa"),
        provider.authorize("hold", "pm_card_visa"),
    );
    assert!(a == b && b == c, "{a:?} {b:?} {c:?}");
    assert_eq!(provider.totals().await, (500, 0, 0));
}

#[tokio::test]
async fn the_same_key_with_another_call_is_422() {
    let provider = Provider::quick().await;
    let id = provider.authorized("hold", "pm_card_visa").await;
    let mut dearer = order("pm_card_visa");
    dearer["amount_minor"] = json!(501);
    let answer = provider.post("/v1/authorizations", Some("hold"), Some(&dearer)).await;
    check_problem(&answer, 422, "idempotency-mismatch");
    check_problem(&provider.change("hold", &id, "void").await, 422, "idempotency-mismatch");
}

#[tokio::test]
async fn a_call_without_a_key_is_400() {
    let provider = Provider::quick().await;
    let body = order("pm_card_visa");
    check_problem(&provider.post("/v1/authorizations", None, Some(&body)).await, 400, "malformed");
    let path = format!("/v1/authorizations/{UNKNOWN}/void");
    check_problem(&provider.post(&path, None, None).await, 400, "malformed");
}

#[tokio::test]
async fn what_cannot_be_paid_is_422_naming_the_member() {
    let provider = Provider::quick().await;
    let wrong: [(&str, Value); 6] = [
        ("merchant_reference", json!("")),
        ("merchant_reference", json!("x".repeat(65))),
        ("amount_minor", json!(0)),
        ("amount_minor", json!(1.5)),
        ("amount_minor", json!(1_000_000_000_001_i64)),
        ("currency", json!("eur")),
    ];
    for (member, value) in wrong {
        let mut body = order("pm_card_visa");
        body[member] = value;
        let answer = provider.post("/v1/authorizations", Some("key"), Some(&body)).await;
        check_problem(&answer, 422, "invalid");
        assert_eq!(answer.body["member"], member);
    }
    let mut body = order("pm_card_visa");
    body["card_number"] = json!("4242");
    check_problem(&provider.post("/v1/authorizations", Some("key"), Some(&body)).await, 422, "invalid");
}

#[tokio::test]
async fn the_report_is_by_reference_and_currency() {
    let provider = Provider::quick().await;
    for (key, reference, currency) in
        [("a", "order-2", "EUR"), ("b", "order-1", "USD"), ("c", "order-1", "EUR")]
    {
        let mut body = order("pm_card_visa");
        body["merchant_reference"] = json!(reference);
        body["currency"] = json!(currency);
        provider.post("/v1/authorizations", Some(key), Some(&body)).await;
    }
    let report = provider.get("/v1/report").await.body;
    assert_eq!(report["next_cursor"], Value::Null);
    let pairs: Vec<_> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (&item["merchant_reference"], &item["currency"]))
        .collect();
    let expected =
        [("order-1", "EUR"), ("order-1", "USD"), ("order-2", "EUR")].map(|(a, b)| (json!(a), json!(b)));
    assert_eq!(pairs, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!(report["totals"]["EUR"]["held_minor"], 1000);

    let one = provider.get("/v1/report?merchant_reference=order-2").await.body;
    let sums = json!({
        "held_minor": 500, "captured_minor": 0, "refunded_minor": 0,
        "authorizations": 1, "captures": 0, "refunds": 0, "voids": 0,
    });
    let mut item = sums.clone();
    item["merchant_reference"] = json!("order-2");
    item["currency"] = json!("EUR");
    assert_eq!(one, json!({ "items": [item], "next_cursor": null, "totals": { "EUR": sums } }));
    let none = provider.get("/v1/report?merchant_reference=order-9").await.body;
    assert_eq!(none, json!({ "items": [], "next_cursor": null, "totals": {} }));
}

#[tokio::test]
async fn the_report_comes_in_pages_with_the_totals_of_all() {
    let provider = Provider::quick().await;
    for number in 1..=5 {
        let mut body = order("pm_card_visa");
        body["merchant_reference"] = json!(format!("order-{number}"));
        provider.post("/v1/authorizations", Some(&format!("key-{number}")), Some(&body)).await;
    }
    let mut references = Vec::new();
    let mut cursor = String::new();
    for items in [2, 2, 1] {
        let page = provider.get(&format!("/v1/report?limit=2{cursor}")).await.body;
        let page_items = page["items"].as_array().unwrap();
        assert_eq!(page_items.len(), items, "{page}");
        references.extend(page_items.iter().map(|item| item["merchant_reference"].clone()));
        assert_eq!(page["totals"]["EUR"]["held_minor"], 2500);
        cursor = page["next_cursor"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    assert_eq!(cursor, "", "the last page names no next one");
    assert_eq!(references, ["order-1", "order-2", "order-3", "order-4", "order-5"]);
    let of_one = provider.get("/v1/report?limit=1&merchant_reference=order-3").await.body;
    assert_eq!((of_one["items"].as_array().unwrap().len(), &of_one["next_cursor"]), (1, &Value::Null));
    for query in ["limit=0", "limit=201", "cursor=x"] {
        check_problem(&provider.get(&format!("/v1/report?{query}")).await, 400, "malformed");
    }
}
