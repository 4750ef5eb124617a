//! The card processor's own report.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What the processor held, captured and refunded, by merchant reference, which is the order id.
pub type Charges = BTreeMap<String, Charge>;

/// The charges of one order; amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Charge {
    merchant_reference: String,
    pub authorizations: i64,
    pub captures: i64,
    pub refunds: i64,
    pub held_minor: i64,
    pub captured_minor: i64,
    pub refunded_minor: i64,
}

#[derive(Deserialize)]
struct Report {
    items: Vec<Charge>,
}

pub(super) async fn fetch(http: &reqwest::Client, provider_url: &str) -> Result<Charges> {
    let url = format!("{provider_url}/v1/report");
    let response = http.get(&url).send().await.and_then(reqwest::Response::error_for_status);
    let response = response.with_context(|| format!("cannot read the card processor's report at {url}"))?;
    let report: Report = response.json().await.context("the report has an unexpected shape")?;
    Ok(report.items.into_iter().map(|charge| (charge.merchant_reference.clone(), charge)).collect())
}
