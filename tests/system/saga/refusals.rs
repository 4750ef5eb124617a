//! A card processor that says a definite no, lets holds expire or answers with something else: no order waits for it
//! for ever, and what no call settles is settled by an operator.

use serde_json::{Value, json};
use system::Service;
use testkit::eventually;
use testkit::running::answer;

use super::IMPATIENT;
use crate::auditing::audit_now;
use crate::environment::process::{self, Ended, Variables};
use crate::shop::Shop;

/// Runs `sagactl jobs` on the payment service of the shop.
async fn jobs(shop: &Shop, arguments: &[&str]) -> Ended {
    let url = shop.world.database_url("payment").await;
    let variables = [("USER", "ada"), ("PAYMENT_DATABASE_URL", &url)];
    let variables: Variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let arguments = [&["jobs"], arguments, &["--service", "payment"]].concat();
    process::run("sagactl", &arguments, &variables).await
}

/// The one job that is parked.
async fn parked(shop: &Shop) -> Value {
    eventually("a parked job", async || {
        let listed = jobs(shop, &["list", "--json"]).await;
        let listed: Value =
            serde_json::from_str(&listed.stdout).map_err(|error| format!("{error}: {listed:?}"))?;
        match listed.as_array().map(Vec::as_slice) {
            Some([job]) => Ok(job.clone()),
            _ => Err(listed.to_string()),
        }
    })
    .await
}

/// Calls the processor as somebody else who has our credentials, such as a person at its dashboard.
async fn at_the_dashboard(shop: &Shop, path: &str) -> u16 {
    answer(shop.provider.post(path)).await.0
}

/// Somebody gives so much of an order's money back there.
async fn refund_at_the_dashboard(shop: &Shop, authorization: &str, amount_minor: i64) -> u16 {
    let call = shop.provider.post(&format!("/v1/authorizations/{authorization}/refund"));
    answer(call.json(&json!({ "amount_minor": amount_minor, "currency": "EUR" }))).await.0
}

/// The processor's id of the order's authorization.
async fn authorization_of(shop: &Shop, id: &str) -> String {
    let (_, found) = shop.provider.get(&format!("/v1/authorizations?merchant_reference={id}")).await;
    found["items"][0]["id"].as_str().expect("an id").to_owned()
}

/// An order that is authorized and waits for stock, and the processor's id of its authorization.
async fn authorized(shop: &mut Shop) -> (String, String) {
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Inventory).await;
    let id = shop.place("BEANS", 2, "pm_card_visa").await;
    shop.payment_is(&id, "authorized").await;
    let authorization = authorization_of(shop, &id).await;
    (id, authorization)
}

#[tokio::test(flavor = "multi_thread")]
async fn order_whose_authorization_was_voided_elsewhere_is_cancelled() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    let (id, authorization) = authorized(&mut shop).await;
    assert_eq!(at_the_dashboard(&shop, &format!("/v1/authorizations/{authorization}/void")).await, 200);
    shop.restart(Service::Inventory).await;
    let order = shop.order_is(&id, "cancelled").await;
    assert_eq!(order["reason"], "payment_failed");
    shop.check().await;
    assert_eq!(shop.payment_of(&id).await["status"], "voided");
    assert_eq!((shop.charged(&id).await, shop.stock_of("BEANS").await), ((0, 0, 0), (5, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn order_whose_hold_expires_before_the_capture_is_cancelled() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    let (id, _) = authorized(&mut shop).await;
    shop.faults(&json!({"expired_rate": 1.0})).await;
    shop.restart(Service::Inventory).await;
    let order = shop.order_is(&id, "cancelled").await;
    assert_eq!(order["reason"], "payment_failed");
    shop.check().await;
    assert_eq!((shop.charged(&id).await, shop.stock_of("BEANS").await), ((0, 0, 0), (5, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_was_taken_elsewhere_before_the_void_is_refunded() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    let (id, authorization) = authorized(&mut shop).await;
    assert_eq!(at_the_dashboard(&shop, &format!("/v1/authorizations/{authorization}/capture")).await, 200);
    shop.cancel(&id).await;
    shop.restart(Service::Inventory).await;
    shop.check().await;
    assert_eq!(shop.payment_of(&id).await["status"], "refunded");
    assert_eq!(shop.charged(&id).await, (0, 2000, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_was_refunded_in_part_elsewhere_is_refunded_for_the_rest() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    let (id, authorization) = authorized(&mut shop).await;
    assert_eq!(at_the_dashboard(&shop, &format!("/v1/authorizations/{authorization}/capture")).await, 200);
    assert_eq!(refund_at_the_dashboard(&shop, &authorization, 700).await, 200);
    shop.cancel(&id).await;
    shop.restart(Service::Inventory).await;
    shop.check().await;
    let payment = shop.payment_of(&id).await;
    let eur = |amount_minor: i64| json!({ "amount_minor": amount_minor, "currency": "EUR" });
    assert_eq!(
        (&payment["status"], &payment["captured"], &payment["refunded"]),
        (&json!("refunded"), &eur(2000), &eur(2000))
    );
    let entries = payment["ledger"].as_array().expect("a ledger").iter();
    let refunds = entries.filter(|entry| entry["account"] == "refunds").map(|entry| &entry["amount"]);
    assert_eq!(refunds.collect::<Vec<_>>(), [&eur(-700), &eur(-1300)]);
    assert_eq!(shop.charged(&id).await, (0, 2000, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_authorization_is_declined_when_nothing_is_held() {
    let shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    shop.faults(&json!({"refused_rate": 1.0})).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    let order = shop.order_is(&id, "cancelled").await;
    assert_eq!(order["reason"], "payment_declined");
    shop.faults(&json!({})).await;
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_over_another_amount_is_parked_until_an_operator_resolves_it() {
    let shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    shop.faults(&json!({"wrong_answer_rate": 1.0})).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    let job = parked(&shop).await;
    let job_id = job["id"].as_str().expect("an id");
    assert_eq!((&job["key"], &job["payload"]["action"]), (&json!(id), &json!("authorize")), "{job}");
    let reason = job["last_error"].as_str().expect("a reason");
    assert!(reason.contains("is over 9.99 EUR, not 10.00 EUR"), "{reason}");
    assert_eq!(shop.order(&id).await["status"], "pending", "it is never believed");

    let found = audit_now(&shop.sources()).await;
    assert_eq!(found.broken().collect::<Vec<_>>(), ["jobs end"]);

    shop.faults(&json!({})).await;
    let authorization = authorization_of(&shop, &id).await;
    let resolve = async |outcome: &str, more: &[&str]| {
        let resolve = ["resolve", job_id, "--as", outcome, "--reason", "seen at the dashboard"];
        jobs(&shop, &[&resolve, more].concat()).await
    };
    resolve("captured", &[]).await.failed_saying(&["parked again", "authorized or declined"]);
    resolve("authorized", &[]).await.failed_saying(&["parked again", "--reference ID"]);
    let done = resolve("authorized", &["--reference", &authorization]).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    shop.order_is(&id, "completed").await;
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 1000, 0));

    let history = jobs(&shop, &["list", "--history", "--json"]).await;
    let history: Value = serde_json::from_str(&history.stdout).expect("JSON");
    let last = &history[2];
    let told = (&last["requested_by"], &last["action"], &last["outcome"], &last["reason"]);
    assert_eq!(
        told,
        (&json!("ada"), &json!("resolve"), &json!("authorized"), &json!("seen at the dashboard"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refund_that_is_refused_is_parked_and_done_when_tried_again() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    let (id, authorization) = authorized(&mut shop).await;
    assert_eq!(at_the_dashboard(&shop, &format!("/v1/authorizations/{authorization}/capture")).await, 200);
    shop.faults(&json!({"refused_rate": 1.0})).await;
    shop.cancel(&id).await;
    shop.restart(Service::Inventory).await;
    let job = parked(&shop).await;
    assert_eq!(job["payload"]["action"], "refund", "{job}");
    shop.faults(&json!({})).await;
    let retried = jobs(&shop, &["retry", job["id"].as_str().expect("an id")]).await;
    assert_eq!(retried.code, Some(0), "{retried:?}");
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 2000, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_that_was_never_attempted_is_dropped_by_the_cancel() {
    let mut shop = Shop::open_with(&IMPATIENT).await;
    shop.stock("BEANS", 5).await;
    shop.stop(Service::Payment).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.cancel(&id).await;
    shop.restart(Service::Payment).await;
    shop.check().await;
    assert_eq!(shop.payment_of(&id).await["status"], "voided");
    assert_eq!(shop.calls().await, 0, "nobody was asked to hold anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_order_is_cancelled_at_the_deadline_of_its_capture_and_refunded_later() {
    let variables = [IMPATIENT.as_slice(), &[("ORDER_DEADLINE", "3s"), ("CAPTURE_DEADLINE", "3s")]].concat();
    let mut shop = Shop::open_with(&variables).await;
    let (id, _) = authorized(&mut shop).await;
    shop.faults(&json!({"timeout_after_effect_rate": 1.0})).await;
    shop.restart(Service::Inventory).await;
    shop.cancelled_as(&id, "payment_failed").await;
    shop.faults(&json!({})).await;
    shop.check().await;
    assert_eq!(shop.charged(&id).await, (0, 2000, 2000));
}

#[tokio::test(flavor = "multi_thread")]
async fn job_that_does_not_exist_is_an_error_that_says_where_to_look() {
    let shop = Shop::open().await;
    let ended = jobs(&shop, &["show", "01a1fe4c-0000-7000-8000-000000000001"]).await;
    ended.failed_saying(&["there is no job", "sagactl jobs list --all"]);
    let ended = jobs(&shop, &["list"]).await;
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "no job is parked"));
}
