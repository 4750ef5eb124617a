//! Customers that go on ordering through every outage.

use std::time::Duration;

use crate::shop::order_of;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use testkit::eventually;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const BETWEEN_ORDERS: Duration = Duration::from_millis(200);
/// However short the outage is.
const AT_LEAST: usize = 24;
const PATIENCE: Duration = Duration::from_secs(5);

/// Places orders, one after the other, as long as the trouble lasts; gives the ids of those that were taken.
pub(super) async fn orders_during(url: &str, trouble: impl Future<Output = ()>) -> Vec<String> {
    let over = CancellationToken::new();
    let trouble = async {
        trouble.await;
        over.cancel();
    };
    let (ids, ()) = tokio::join!(order_until(url, &over), trouble);
    ids
}

async fn order_until(url: &str, over: &CancellationToken) -> Vec<String> {
    let client = Client::builder().timeout(PATIENCE).build().expect("a client");
    let mut ticks = interval(BETWEEN_ORDERS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ids = Vec::new();
    while ids.len() < AT_LEAST || !over.is_cancelled() {
        ticks.tick().await;
        let number = ids.len();
        let id = place(&client, url, number).await;
        if number % 6 == 5 {
            cancel(&client, url, &id).await;
        }
        ids.push(id);
    }
    ids
}

/// Tries with one idempotency key until the order is taken: it is, once.
async fn place(client: &Client, url: &str, number: usize) -> String {
    let body = match number % 6 {
        1 => order_of("BEANS", 1, "pm_card_declined"),
        2 => order_of("BEANS", 1, "pm_capture_fails"),
        3 => order_of("CUP", 1, "pm_card_visa"),
        _ => order_of("BEANS", 1, "pm_card_visa"),
    };
    let key = runtime::clock::new_id().to_string();
    let (_, order) = until_answered("an order to be taken", &[202], || {
        client.post(format!("{url}/api/v1/orders")).header("Idempotency-Key", &key).json(&body)
    })
    .await;
    order["id"].as_str().expect("an id").to_owned()
}

/// Tries until the order is cancelled, or was completed before.
async fn cancel(client: &Client, url: &str, id: &str) {
    let path = format!("{url}/api/v1/orders/{id}/cancel");
    until_answered("an order to be cancelled", &[202, 409], || client.post(&path)).await;
}

/// Sends a request again and again until it is answered with one of the statuses. Any 5xx, and no answer, is patience.
async fn until_answered(what: &str, wanted: &[u16], request: impl Fn() -> RequestBuilder) -> (u16, Value) {
    eventually(what, async || {
        let response = request().send().await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|error| error.to_string())?;
        if wanted.contains(&status) {
            return Ok((status, serde_json::from_str(&body).expect("JSON")));
        }
        assert!(status >= 500, "{what}: {status} {body}");
        Err(body)
    })
    .await
}
