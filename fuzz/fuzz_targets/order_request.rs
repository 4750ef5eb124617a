//! Any bytes as the body of an order: it is refused for a valid reason, or becomes an order that adds up and can be
//! published.
#![no_main]

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use contracts::{Envelope, Money, OrderId, OrderPlaced, Sku, TraceContext};
use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use http_api::{Problem, RawJson};
use order::domain::{MAX_LINES, MAX_TOTAL_MINOR, PlaceOrder, Prices, Refusal, decide_place};
use order::http::PlaceOrderRequest;
use uuid::Uuid;

fuzz_target!(|body: &[u8]| {
    let request = Request::builder().header(CONTENT_TYPE, "application/json").body(Body::from(body.to_vec()));
    match block_on(RawJson::<PlaceOrderRequest>::from_request(request.expect("a request"), &())) {
        Ok(request) => place(request.value.into()),
        Err(problem) => check_problem(problem),
    }
});

fn place(command: PlaceOrder) {
    let skus = command.lines.iter().map(|line| &line.sku);
    let prices: Prices = skus.filter_map(|sku| Some((sku.clone(), price(sku)?))).collect();
    match decide_place(OrderId(Uuid::nil()), command.clone(), &prices) {
        Ok(placed) => check_order(placed, &command),
        Err(refusal) => check_refusal(&refusal, &command),
    }
}

/// Its first character tells what a SKU costs, so that every refusal is within reach: X has no price, U has one in
/// another currency, and of M no more than one line of 1000 items fits into an amount.
fn price(sku: &Sku) -> Option<Money> {
    let (amount_minor, currency) = match sku.as_str().as_bytes() {
        [b'X', ..] => return None,
        [b'U', ..] => (999, "USD"),
        [b'M', ..] => (i64::MAX / 1000, "EUR"),
        _ => (999, "EUR"),
    };
    Some(Money { amount_minor, currency: currency.parse().expect("a currency") })
}

fn sum(command: &PlaceOrder) -> i128 {
    let amount = |price: Money, quantity: i32| i128::from(price.amount_minor) * i128::from(quantity);
    command.lines.iter().filter_map(|line| Some(amount(price(&line.sku)?, line.quantity.get()))).sum()
}

fn check_order(placed: OrderPlaced, command: &PlaceOrder) {
    assert_eq!(i128::from(placed.total.amount_minor), sum(command));
    assert_eq!((&placed.customer, &placed.payment_method), (&command.customer, &command.payment_method));
    assert_eq!(placed.lines.len(), command.lines.len());
    for (line, ordered) in placed.lines.iter().zip(&command.lines) {
        assert_eq!((&line.sku, line.quantity), (&ordered.sku, ordered.quantity));
        assert_eq!(Some(&line.unit_price), price(&ordered.sku).as_ref());
        assert_eq!(line.unit_price.currency, placed.total.currency);
    }
    let envelope = Envelope {
        id: Uuid::nil(),
        time: chrono::DateTime::UNIX_EPOCH,
        causation_id: None,
        aggregate_version: 1,
        trace: TraceContext::default(),
        event: placed.into(),
    };
    let json = envelope.to_json().expect("an order encodes");
    assert_eq!(Envelope::from_json(json.as_bytes()).expect(&json), envelope);
}

fn check_refusal(refusal: &Refusal, command: &PlaceOrder) {
    let lines_of = |sku: &Sku| command.lines.iter().filter(|line| line.sku == *sku).count();
    let holds = match refusal {
        Refusal::LineCount(count) => *count == command.lines.len() && !(1..=MAX_LINES).contains(count),
        Refusal::RepeatedSku(sku) => lines_of(sku) > 1,
        Refusal::UnknownSkus(skus) => skus.iter().all(|sku| lines_of(sku) == 1 && price(sku).is_none()),
        Refusal::SeveralCurrencies(currencies) => currencies.len() == 2,
        Refusal::TotalTooLarge => sum(command) > MAX_TOTAL_MINOR.into(),
        Refusal::OtherTotal(total) => {
            i128::from(total.amount_minor) == sum(command) && command.expected_total.as_ref() != Some(total)
        }
        Refusal::Completed => false,
    };
    assert!(holds, "{refusal}");
    assert!(!refusal.to_string().is_empty());
}

fn check_problem(problem: Problem) {
    let answer = problem.into_response();
    assert!([400, 422].contains(&answer.status().as_u16()), "{answer:?}");
    let body = block_on(to_bytes(answer.into_body(), usize::MAX)).expect("a body");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("a body in JSON");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
}
