//! The card processor's own report.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What the processor held, captured and refunded, by merchant reference, which is the order id, and currency: `<id> EUR`.
pub type Charges = BTreeMap<String, Charge>;

/// The charges of one order in one currency; amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Charge {
    merchant_reference: String,
    currency: String,
    pub authorizations: i64,
    pub captures: i64,
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
    let keyed = |charge: Charge| (format!("{} {}", charge.merchant_reference, charge.currency), charge);
    Ok(report.items.into_iter().map(keyed).collect())
}
