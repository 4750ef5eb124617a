//! The price list.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::{Money, Sku};
use runtime::columns::{column, parse};
use sqlx::PgConnection;

use crate::{domain::Prices, reactions::PriceChange};

/// The prices of those that are listed, however often a SKU occurs, and the time by the database's clock: `None` without
/// any price.
pub async fn prices(conn: &mut PgConnection, skus: &[&str]) -> sqlx::Result<(Prices, Option<DateTime<Utc>>)> {
    let rows = sqlx::query!(
        r#"select now() as "now!", sku, amount_minor as "amount_minor!", currency as "currency!"
           from prices where sku = any($1) and amount_minor is not null"#,
        skus as _,
    )
    .fetch_all(conn)
    .await?;
    let now = rows.first().map(|row| row.now);
    let prices = rows.into_iter().map(|row| {
        Ok((parse(&row.sku)?, Money { amount_minor: row.amount_minor, currency: parse(&row.currency)? }))
    });
    Ok((prices.collect::<sqlx::Result<_>>()?, now))
}

/// Saves what became of prices. An older change never overwrites a newer one: what is delisted leaves a tombstone.
pub async fn save_prices(conn: &mut PgConnection, changes: &[PriceChange]) -> sqlx::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    // One row a SKU, the newest: a statement cannot touch a row twice. In SKU order: replicas cannot deadlock.
    let mut newest: BTreeMap<&Sku, &PriceChange> = BTreeMap::new();
    for change in changes {
        let known = newest.entry(&change.sku).or_insert(change);
        if change.aggregate_version >= known.aggregate_version {
            *known = change;
        }
    }
    let newest: Vec<&PriceChange> = newest.into_values().collect();
    sqlx::query!(
        "insert into prices (sku, name, amount_minor, currency, aggregate_version)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])
             as changed (sku, name, amount_minor, currency, aggregate_version) order by sku
         on conflict (sku) do update set
             name = excluded.name, amount_minor = excluded.amount_minor,
             currency = excluded.currency, aggregate_version = excluded.aggregate_version
         where prices.aggregate_version < excluded.aggregate_version",
        &column(&newest, |change| change.sku.as_str()) as _,
        &column(&newest, |change| change.listed.as_ref().map(|product| product.name.as_str())) as _,
        &column(&newest, |change| change.listed.as_ref().map(|product| product.price.amount_minor)) as _,
        &column(&newest, |change| change.listed.as_ref().map(|product| product.price.currency.as_str())) as _,
        &column(&newest, |change| change.aggregate_version),
    )
    .execute(conn)
    .await?;
    Ok(())
}
