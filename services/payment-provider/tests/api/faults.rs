//! Answers that are late, refused, lost, or never sent.

use std::time::{Duration, Instant};

use payment_provider::Config;
use serde_json::json;

use crate::support::{DEADLINE, Provider, check_problem, quick};

#[tokio::test]
async fn a_timeout_once_does_nothing_and_then_approves() {
    let provider = Provider::quick().await;
    check_problem(&provider.authorize("hold", "pm_timeout_once").await, 504, "timeout");
    assert_eq!(provider.totals().await, (0, 0, 0));
    assert_eq!(provider.authorize("hold", "pm_timeout_once").await.status, 201);
    assert_eq!(provider.totals().await, (500, 0, 0));
}

#[tokio::test]
async fn a_charge_then_timeout_took_effect_and_its_replay_tells() {
    let provider = Provider::quick().await;
    check_problem(&provider.authorize("hold", "pm_charged_then_timeout").await, 504, "timeout");
    assert_eq!(provider.totals().await, (500, 0, 0));
    assert_eq!(provider.authorize("hold", "pm_charged_then_timeout").await.status, 201);
    assert_eq!(provider.totals().await, (500, 0, 0));
}

#[tokio::test]
async fn a_card_that_is_down_approves_when_its_time_is_over() {
    let provider = Provider::quick().await;
    let start = Instant::now();
    let mut answer = provider.authorize("hold", "pm_down").await;
    check_problem(&answer, 504, "timeout");
    while answer.status != 201 {
        assert!(start.elapsed() < DEADLINE);
        assert_eq!(provider.totals().await, (0, 0, 0));
        answer = provider.authorize("hold", "pm_down").await;
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(provider.totals().await, (500, 0, 0));
}

#[tokio::test]
async fn an_error_is_503_and_does_nothing() {
    let provider = Provider::quick().await;
    provider.set_faults(json!({ "error_rate": 1.0 })).await;
    check_problem(&provider.authorize("hold", "pm_card_visa").await, 503, "unavailable");
    assert_eq!(provider.totals().await, (0, 0, 0));
    provider.set_faults(json!({})).await;
    assert_eq!(provider.authorize("hold", "pm_card_visa").await.status, 201);
    assert_eq!(provider.get("/v1/calls").await.body, json!({ "calls": 2 }), "those that failed count");
}

#[tokio::test]
async fn a_timeout_does_nothing() {
    let provider = Provider::quick().await;
    provider.set_faults(json!({ "timeout_rate": 1 })).await;
    check_problem(&provider.authorize("hold", "pm_card_visa").await, 504, "timeout");
    assert_eq!(provider.totals().await, (0, 0, 0));
}

#[tokio::test]
async fn a_timeout_after_the_effect_is_cured_by_the_same_key() {
    let provider = Provider::quick().await;
    let id = provider.authorized("hold", "pm_card_visa").await;
    provider.set_faults(json!({ "timeout_after_effect_rate": 1.0 })).await;
    check_problem(&provider.change("take", &id, "capture").await, 504, "timeout");
    assert_eq!(provider.totals().await, (0, 500, 0));
    provider.set_faults(json!({})).await;
    assert_eq!(provider.change("take", &id, "capture").await.body["status"], "captured");
    assert_eq!(provider.totals().await, (0, 500, 0));
}

#[tokio::test]
async fn latency_delays_every_call() {
    let provider = Provider::quick().await;
    provider.set_faults(json!({ "latency_ms": 50 })).await;
    let start = Instant::now();
    assert_eq!(provider.authorize("hold", "pm_card_visa").await.status, 201);
    assert!(start.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_refused_call_does_nothing_and_is_remembered_by_nobody() {
    let provider = Provider::quick().await;
    provider.set_faults(json!({ "refused_rate": 1.0 })).await;
    let refused = provider.authorize("hold", "pm_card_visa").await;
    check_problem(&refused, 409, "conflict");
    assert_eq!((&refused.body["code"], provider.totals().await), (&json!("refused"), (0, 0, 0)));
    provider.set_faults(json!({})).await;
    assert_eq!(provider.authorize("hold", "pm_card_visa").await.status, 201);
}

#[tokio::test]
async fn a_hold_that_expires_can_neither_be_taken_nor_voided() {
    let provider = Provider::quick().await;
    let id = provider.authorized("hold", "pm_card_visa").await;
    provider.set_faults(json!({ "expired_rate": 1.0 })).await;
    for (key, operation) in [("take", "capture"), ("drop", "void")] {
        let refused = provider.change(key, &id, operation).await;
        check_problem(&refused, 409, "conflict");
        assert_eq!(refused.body["code"], "authorization_expired");
    }
    assert_eq!(provider.get(&format!("/v1/authorizations/{id}")).await.body["status"], "expired");
    assert_eq!(provider.totals().await, (0, 0, 0));
}

#[tokio::test]
async fn a_wrong_answer_is_over_another_amount_and_takes_effect() {
    let provider = Provider::quick().await;
    provider.set_faults(json!({ "wrong_answer_rate": 1.0 })).await;
    let answer = provider.authorize("hold", "pm_card_visa").await;
    assert_eq!((answer.status, &answer.body["amount_minor"]), (201, &json!(499)));
    assert_eq!(provider.totals().await, (500, 0, 0));
    provider.set_faults(json!({})).await;
    assert_eq!(provider.authorize("hold", "pm_card_visa").await.body["amount_minor"], 500);
}

#[tokio::test]
async fn faults_are_shown_and_checked() {
    let provider = Provider::quick().await;
    let off = json!({
        "latency_ms": 0, "error_rate": 0.0, "timeout_rate": 0.0, "timeout_after_effect_rate": 0.0,
        "refused_rate": 0.0, "expired_rate": 0.0, "wrong_answer_rate": 0.0,
    });
    assert_eq!(provider.get("/faults").await.body, off);
    let some = json!({
        "latency_ms": 5, "error_rate": 0.1, "timeout_rate": 0.0, "timeout_after_effect_rate": 1.0,
        "refused_rate": 0.5, "expired_rate": 0.25, "wrong_answer_rate": 0.125,
    });
    assert_eq!(provider.set_faults(some.clone()).await.body, some);
    for wrong in [
        json!({ "error_rate": 1.5 }),
        json!({ "timeout_rate": -0.1 }),
        json!({ "timeout_after_effect_rate": "often" }),
        json!({ "refused_rate": 2 }),
        json!({ "expired_rate": -1 }),
        json!({ "wrong_answer_rate": 1.01 }),
        json!({ "latency_ms": 60_001 }),
        json!({ "latency": 1 }),
    ] {
        check_problem(&provider.set_faults(wrong).await, 422, "invalid");
    }
    assert_eq!(provider.get("/faults").await.body, some);
}

#[tokio::test]
async fn a_shutdown_ends_every_silence() {
    let provider = Provider::start(Config { hang_duration: DEADLINE * 2, ..quick() }).await;
    let effect = async {
        while provider.totals().await != (500, 0, 0) {
            tokio::task::yield_now().await;
        }
        provider.cancel();
    };
    let (answer, ()) = tokio::join!(provider.authorize("hold", "pm_charged_then_timeout"), effect);
    check_problem(&answer, 504, "timeout");
    provider.stop().await;
}
