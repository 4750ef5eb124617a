//! The shop's HTTP API as customers use it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{Catalogue, PlaceOrder, order_body};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the prices of new products may take to reach the order service.
const LISTING_LIMIT: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub struct Customers {
    http: Client,
    order_urls: Arc<[String]>,
    patience: Duration,
}

impl Customers {
    /// `order_urls` are the order service and its replicas: requests go to them in turn. A request that fails for now
    /// is repeated for as long as `patience` lasts, zero for never.
    pub fn new(order_urls: Vec<String>, patience: Duration) -> Result<Self> {
        let http = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, order_urls: order_urls.into(), patience })
    }

    /// Lists and restocks the products, and waits until they can be ordered.
    pub async fn seed_stock(&self, inventory_url: &str, catalogue: &Catalogue) -> Result<()> {
        for number in 0..catalogue.skus {
            let product = format!("{inventory_url}/api/v1/products/{}", catalogue.sku(number));
            let listing = json!({"name": catalogue.sku(number), "price": catalogue.price(number)});
            self.list(&product, &listing).await?;
            let restock = json!({"quantity": catalogue.quantity(number)});
            let restock = self.http.post(format!("{product}/restock")).json(&restock);
            let _: Value =
                answer(restock.header("Idempotency-Key", runtime::clock::new_id().to_string())).await?;
        }
        // Prices reach the order service as events, the last product's last.
        let lines = [(catalogue.sku(catalogue.skus - 1), 1)];
        let probe = PlaceOrder::new(order_body("probe", "probe@example.com", &lines, "pm_card_visa"));
        let end = Instant::now() + LISTING_LIMIT;
        while let Err(why) = self.place(0, &probe).await {
            ensure!(Instant::now() < end, "no order is accepted ({why}): see /health/parts of order");
            sleep(RETRY_INTERVAL).await;
        }
        Ok(())
    }

    /// Lists a product, or changes it: the PUT of a product that exists needs `If-Match`, and that of a new one must not
    /// have it.
    async fn list(&self, product: &str, listing: &Value) -> Result<()> {
        let put = self.http.put(product).json(listing);
        let known = self.http.get(product).send().await.context("inventory does not answer")?;
        let put = match known.status() {
            StatusCode::NOT_FOUND => put,
            _ => put.header("If-Match", "*"),
        };
        let _: Value = answer(put).await?;
        Ok(())
    }

    /// Places an order at the replica whose turn is `number`; gives its id, or the last answer other than 202.
    pub async fn place(&self, number: usize, order: &PlaceOrder) -> Result<Uuid, String> {
        #[derive(Deserialize)]
        struct Placed {
            id: Uuid,
        }
        let request = self.http.post(format!("{}/api/v1/orders", self.order_url(number))).json(&order.body);
        let request = request.header("Idempotency-Key", &order.key);
        match self.send(request, is_transient).await? {
            (StatusCode::ACCEPTED, placed) => {
                let placed: Placed = serde_json::from_slice(&placed).map_err(|error| error.to_string())?;
                Ok(placed.id)
            }
            (status, _) => Err(status.to_string()),
        }
    }

    /// Cancels an order; gives whether that was accepted.
    pub async fn cancel(&self, id: Uuid) -> bool {
        let request = self.http.post(format!("{}/api/v1/orders/{id}/cancel", self.order_url(0)));
        // 409 is final here: the order is completed.
        let again = |status| status != StatusCode::CONFLICT && is_transient(status);
        self.send(request, again).await.is_ok_and(|(status, _)| status.is_success())
    }

    /// Sends a request, and again while there is no answer or only one for now; gives the last one.
    async fn send(
        &self,
        request: RequestBuilder,
        is_transient: impl Fn(StatusCode) -> bool,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let end = Instant::now() + self.patience;
        loop {
            let request = request.try_clone().ok_or("a body that cannot be sent again")?;
            let answer = async {
                let response = request.send().await?;
                Ok((response.status(), response.bytes().await?.to_vec()))
            };
            let answer: reqwest::Result<_> = answer.await;
            match answer {
                Ok((status, body)) if !is_transient(status) => return Ok((status, body)),
                answer if Instant::now() >= end => return answer.map_err(|_| "no answer".to_owned()),
                _ => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    /// The order's status, if the service answers.
    pub async fn status(&self, id: Uuid) -> Option<String> {
        #[derive(Deserialize)]
        struct Order {
            status: String,
        }
        let url = format!("{}/api/v1/orders/{id}", self.order_url(0));
        Some(self.http.get(url).send().await.ok()?.json::<Order>().await.ok()?.status)
    }

    fn order_url(&self, number: usize) -> &str {
        &self.order_urls[number % self.order_urls.len()]
    }
}

/// Whether another attempt may be answered otherwise; 409 means that the first request under a key is still at work.
fn is_transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::CONFLICT
}

/// Sends a request and reads the JSON of a 2xx answer.
pub async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let response: Response = request.send().await.context("the service does not answer")?;
    let status = response.status();
    if !status.is_success() {
        let problem: Value = response.json().await.unwrap_or_default();
        let texts = ["title", "detail"].into_iter().filter_map(|name| problem[name].as_str());
        let texts: String = texts.map(|text| format!(": {text}")).collect();
        bail!("answered {status}{texts}");
    }
    response.json().await.context("the answer has an unexpected shape")
}
