//! The services as a client sees them: over HTTP.

use anyhow::{Context, Result, bail};
use messaging::config::RetryDelays;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use system::Service;

/// Where the services are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Urls {
    /// The order service
    #[arg(long, env = "ORDER_URL", default_value = "http://127.0.0.1:8081")]
    pub(crate) order_url: String,
    /// The inventory service
    #[arg(long, env = "INVENTORY_URL", default_value = "http://127.0.0.1:8083")]
    pub(crate) inventory_url: String,
}

/// What the whole system is looked at through, past its services.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Servers {
    /// Postgres, with a role that may read everything; each service's database has its name
    #[arg(
        long,
        env = "AUDIT_POSTGRES_URL",
        hide_env_values = true,
        default_value = "postgres://auditor:auditor@127.0.0.1:8432"
    )]
    postgres_url: String,
    /// The broker, with a user that may read dead letters
    #[arg(
        long,
        env = "AUDIT_AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://auditor:auditor@127.0.0.1:8672/shop"
    )]
    pub(crate) amqp_url: String,
    /// The card processor
    #[arg(long, env = "PAYMENT_PROVIDER_URL", default_value = "http://127.0.0.1:8090")]
    pub(crate) provider_url: String,
    /// The delays of the retry retry delays, as the services have them
    #[arg(long, env = "RETRY_DELAYS", default_value_t)]
    pub(crate) retry_delays: RetryDelays,
}

impl Servers {
    /// The URL of each service's database.
    pub(crate) fn databases(&self) -> Vec<(Service, String)> {
        let base = self.postgres_url.trim_end_matches('/');
        Service::ALL.iter().map(|service| (*service, format!("{base}/{service}"))).collect()
    }
}

/// A line of an order: a SKU and how many of it.
pub(crate) type Line = (String, u32);

/// The body of a request to place an order.
pub(crate) fn order(customer: &str, email: &str, lines: &[Line], payment_method: &str) -> Value {
    let lines: Vec<_> =
        lines.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    json!({"customer": {"id": customer, "email": email}, "lines": lines, "payment_method": payment_method})
}

/// Sends a request and reads a 2xx answer.
///
/// # Errors
/// When nobody answers, or the answer is a problem: then its title and detail.
pub(crate) async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let response = send(request).await?;
    let status = response.status();
    if !status.is_success() {
        let problem: Value = response.json().await.unwrap_or_default();
        let said = ["title", "detail"].into_iter().filter_map(|name| problem[name].as_str());
        let said: String = said.map(|text| format!(": {text}")).collect();
        bail!("answered {status}{said}");
    }
    response.json().await.context("the answer is not of the shape that was expected")
}

/// Sends a request.
///
/// # Errors
/// When nobody answers; says what to do.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response> {
    request.send().await.context("the service does not answer: is the system up? start it with scripts/up")
}
