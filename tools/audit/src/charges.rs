//! The card processor's own report.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
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
struct Page {
    items: Vec<Charge>,
    next_cursor: Option<String>,
}

/// The most items that the processor gives at once.
const LIMIT: &str = "200";

/// Reads the report page by page; a charge may change between two pages.
pub(super) async fn fetch(http: &reqwest::Client, provider_url: &str) -> Result<Charges> {
    let url = format!("{provider_url}/v1/report");
    let mut charges = Charges::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("limit", LIMIT)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = http.get(&url).query(&query).send().await;
        let response = page.and_then(reqwest::Response::error_for_status);
        let response =
            response.with_context(|| format!("cannot read the card processor's report at {url}"))?;
        let Page { items, next_cursor } =
            response.json().await.context("the report has an unexpected shape")?;
        let keyed = |charge: Charge| (format!("{} {}", charge.merchant_reference, charge.currency), charge);
        charges.extend(items.into_iter().map(keyed));
        if next_cursor.is_none() {
            return Ok(charges);
        }
        ensure!(next_cursor != cursor, "the report at {url} gives the same page again and again");
        cursor = next_cursor;
    }
}
