//! The card processor's own report.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What the processor really held, took and gave back, by merchant reference, which is the order's id.
pub type Charges = BTreeMap<String, Charge>;

/// One order's, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Charge {
    merchant_reference: String,
    /// Holds made.
    pub authorizations: i64,
    /// Times that money was taken.
    pub captures: i64,
    /// Times that money was given back.
    pub refunds: i64,
    /// Held now.
    pub held_minor: i64,
    /// Ever taken.
    pub captured_minor: i64,
    /// Given back.
    pub refunded_minor: i64,
}

#[derive(Deserialize)]
struct Report {
    items: Vec<Charge>,
}

pub(super) async fn fetch(http: &reqwest::Client, provider_url: &str) -> Result<Charges> {
    let url = format!("{provider_url}/v1/report");
    let response = http.get(&url).send().await.and_then(reqwest::Response::error_for_status);
    let response =
        response.with_context(|| format!("the card processor's report cannot be read at {url}"))?;
    let report: Report = response.json().await.context("the report is not of the shape that was expected")?;
    Ok(report.items.into_iter().map(|charge| (charge.merchant_reference.clone(), charge)).collect())
}
