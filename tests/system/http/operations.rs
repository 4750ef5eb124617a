//! What operators look at: admission control, health, metrics, traces.

use crate::shop::Shop;
use crate::shop::order_of;
use reqwest::RequestBuilder;
use serde_json::json;
use system::Service;
use testkit::eventually;
use testkit::running::answer;

#[tokio::test(flavor = "multi_thread")]
async fn too_many_pending_orders_answer_503_with_retry_after() {
    let mut shop = Shop::open_with(&[("MAX_PENDING", "2")]).await;
    shop.stock("BEANS", 100).await;
    shop.stop(Service::Inventory).await;
    let first = |shop: &Shop| {
        let order = shop[Service::Order].request("POST", "/api/v1/orders").header("idempotency-key", "first");
        order.json(&order_of("BEANS", 1, "pm_card_visa"))
    };
    let (status, answered) = answer(first(&shop)).await;
    assert_eq!(status, 202, "{answered}");
    let place =
        |shop: &Shop| shop[Service::Order].post("/api/v1/orders").json(&order_of("BEANS", 1, "pm_card_visa"));
    let refusal = eventually("orders to be refused", async || {
        let response = place(&shop).send().await.expect("an answer");
        if response.status() == 503 { Ok(response) } else { Err(response.status()) }
    })
    .await;
    let retry_after = refusal.headers().get("retry-after").and_then(|value| value.to_str().ok());
    assert!(
        retry_after.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|it| it > 0)),
        "{retry_after:?}"
    );
    assert_eq!(refusal.headers()["content-type"], "application/problem+json");
    let problem = super::refused("another order", place(&shop), 503, "unavailable").await;
    assert_eq!(problem["detail"], "too many orders are pending");
    let (status, _) = shop[Service::Order].get("/api/v1/orders").await;
    assert_eq!(status, 200, "a GET is answered");
    assert_eq!(answer(first(&shop)).await, (202, answered), "what was answered is answered again");

    shop.restart(Service::Inventory).await;
    eventually("orders to be accepted", async || {
        let status = status_of(place(&shop)).await;
        if status == 202 { Ok(()) } else { Err(status) }
    })
    .await;
    shop.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_serves_health_and_metrics() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&id, "completed").await;
    shop.check().await;
    for (name, service) in shop.programs() {
        let live = json!({"status": "live", "service": name});
        assert_eq!(service.operations("/health/live").await, (200, live));
        assert_eq!(service.operations("/health/ready").await, (200, json!({"status": "ready"})));
        let (status, parts) = service.operations("/health/parts").await;
        let states = parts["parts"].as_object().expect("parts").values();
        assert!(status == 200 && states.clone().all(|part| part["state"] == "up"), "{parts}");
        assert_eq!(states.len() > 0, name != "payment-provider", "{parts}");
        let metrics = reqwest::get(format!("{}/metrics", service.operations_url)).await.expect("an answer");
        assert_eq!(metrics.status(), 200);
        let text = metrics.text().await.expect("text");
        for part in [
            "http_server_request_duration_seconds_count",
            r#"http_route="/api/v1/orders""#,
            r#"http_response_status_code="202""#,
            "payment_call_duration_seconds",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert!(!text.contains(&id), "an id is no label");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_of_a_request_continues_in_every_event() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let shop = Shop::open().await;
    shop.stock("BEANS", 1).await;
    let mut listener = shop.world.listen().await;
    let order = shop[Service::Order].post("/api/v1/orders").json(&order_of("BEANS", 1, "pm_card_visa"));
    let traced = order.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let (status, order) = answer(traced.header("tracestate", "vendor=one")).await;
    assert_eq!(status, 202, "{order}");
    let id = order["id"].as_str().expect("an id");

    let last = ["order.completed", "stock.committed", "notification.sent"];
    let said = listener.receives(id, &last).await;
    assert_eq!(said.len(), 8, "{said:?}");
    for envelope in &said {
        let parent = envelope.trace.traceparent.clone().unwrap_or_default();
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-01"), "{envelope:?}");
        assert_eq!(envelope.trace.tracestate.as_deref(), Some("vendor=one"), "{envelope:?}");
    }
    // And each but the first names an event of the same order as its cause.
    let ids: Vec<_> = said.iter().map(|envelope| envelope.id).collect();
    let uncaused: Vec<_> =
        said.iter().filter(|it| it.causation_id.is_none_or(|id| !ids.contains(&id))).collect();
    assert_eq!(uncaused.len(), 1, "{uncaused:?}");
    assert_eq!(uncaused[0].event.event_type().name(), "order.placed");
    shop.check().await;
}

async fn status_of(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}
