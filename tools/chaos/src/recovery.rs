//! How long the system takes to recover from a fault.

use std::time::Duration;

use anyhow::{Result, bail};
use loadgen::{Customers, PlaceOrder, order_body};
use reqwest::Client;
use tokio::time::{Instant, sleep};

use super::CATALOGUE;

const LOOK_INTERVAL: Duration = Duration::from_millis(10);
pub(super) const LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) customers: Customers,
    pub(super) parts_urls: Vec<String>,
    pub(super) http: Client,
}

impl Probe {
    /// The time from now until an order that is placed now is completed, and every service is ready.
    pub(super) async fn recovery(&self) -> Result<Duration> {
        let begun = Instant::now();
        let lines = [(CATALOGUE.sku(0), 1)];
        let body = order_body("probe", "probe@example.com", &lines, "pm_card_visa");
        while begun.elapsed() < LIMIT {
            let order = PlaceOrder::new(body.clone());
            let id = self.customers.place(0, &order).await.map_err(anyhow::Error::msg)?;
            while begun.elapsed() < LIMIT {
                match self.customers.status(id).await.as_deref() {
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
        for url in &self.parts_urls {
            if !self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }
}
