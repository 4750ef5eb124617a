//! How long it takes until everything is well again after a fault.

use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::Client;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::customers::{Counter, PLENTIFUL};

const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(120);

/// What tells that the system is well.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) counter: Counter,
    /// Of every service.
    pub(super) ready_urls: Vec<String>,
    pub(super) http: Client,
}

impl Probe {
    /// The time from now until an order that is placed now is completed, and every service says that it is ready.
    ///
    /// # Errors
    /// When that does not come to pass within two minutes.
    pub(super) async fn recovery(&self) -> Result<Duration> {
        let begun = Instant::now();
        let order = json!({
            "customer": {"id": "probe", "email": "probe@example.com"},
            "lines": [{"sku": PLENTIFUL, "quantity": 1}],
            "payment_method": "pm_card_visa",
        });
        while begun.elapsed() < LIMIT {
            let key = runtime::clock::new_id().to_string();
            let placed = self.counter.place(&key, &order, LIMIT).await.map_err(anyhow::Error::msg)?;
            while begun.elapsed() < LIMIT {
                match self.counter.status(&placed.order_id).await.as_deref() {
                    Some("completed") if self.all_ready().await => return Ok(begun.elapsed()),
                    // Its deadline came first: another is placed.
                    Some("cancelled") => break,
                    _ => sleep(LOOK_INTERVAL).await,
                }
            }
        }
        bail!("no order was completed with every service ready within {LIMIT:?}")
    }

    async fn all_ready(&self) -> bool {
        for url in &self.ready_urls {
            if !self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }
}
