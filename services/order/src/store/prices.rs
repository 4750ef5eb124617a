//! The price list.

use std::collections::BTreeMap;

use contracts::{Money, ProductListed, Sku};
use runtime::columns::{column, parse};
use sqlx::PgConnection;

use crate::domain::Prices;

pub async fn prices(conn: &mut PgConnection, skus: &[String]) -> sqlx::Result<Prices> {
    let rows = sqlx::query!("select sku, amount_minor, currency from prices where sku = any($1)", skus)
        .fetch_all(conn)
        .await?;
    rows.into_iter()
        .map(|row| {
            Ok((parse(&row.sku)?, Money { amount_minor: row.amount_minor, currency: parse(&row.currency)? }))
        })
        .collect()
}

/// Puts products with their aggregate version on the price list. An older one never overwrites a newer one.
pub async fn list_prices(conn: &mut PgConnection, products: &[(ProductListed, i64)]) -> sqlx::Result<()> {
    if products.is_empty() {
        return Ok(());
    }
    // One row a SKU, the newest: a statement cannot touch a row twice. In SKU order: replicas cannot deadlock.
    let mut newest: BTreeMap<&Sku, (&ProductListed, i64)> = BTreeMap::new();
    for (product, aggregate_version) in products {
        let known = newest.entry(&product.sku).or_insert((product, *aggregate_version));
        if *aggregate_version >= known.1 {
            *known = (product, *aggregate_version);
        }
    }
    sqlx::query!(
        "insert into prices (sku, name, amount_minor, currency, aggregate_version)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])
             as listed (sku, name, amount_minor, currency, aggregate_version) order by sku
         on conflict (sku) do update set
             name = excluded.name, amount_minor = excluded.amount_minor,
             currency = excluded.currency, aggregate_version = excluded.aggregate_version
         where prices.aggregate_version < excluded.aggregate_version",
        &column(&newest, |(sku, _)| sku.as_str()) as _,
        &column(&newest, |(_, (product, _))| product.name.as_str()) as _,
        &column(&newest, |(_, (product, _))| product.price.amount_minor),
        &column(&newest, |(_, (product, _))| product.price.currency.as_str()) as _,
        &column(&newest, |(_, (_, version))| *version),
    )
    .execute(conn)
    .await?;
    Ok(())
}
