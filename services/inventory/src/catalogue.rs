//! The catalogue: lists and delists products, and publishes that in the same transaction.

use std::slice;

use anyhow::Context;
use contracts::{Money, Sku};
use http_api::{IfMatch, Problem};
use messaging::{CausationContext, Effects, OutgoingEvent, UnitOfWork};
use sqlx::{PgConnection, PgPool};

use crate::domain::{Level, Movement, Offer, Product, Stock};
use crate::store;

/// What became of a request to list a product.
#[derive(Debug)]
pub struct Listing {
    /// It was not listed before.
    pub is_new: bool,
    /// What to publish; nothing when it was listed like this before.
    pub changed: Option<Product>,
}

/// Lists a product: for the first time, with nothing in stock, or anew.
///
/// # Errors
/// When the condition does not allow it.
pub async fn list(
    conn: &mut PgConnection,
    sku: &Sku,
    offer: Offer,
    if_match: &IfMatch,
) -> Result<Listing, Problem> {
    let new = Product::new(sku.clone(), offer.clone());
    if store::insert_products(conn, slice::from_ref(&new)).await?.contains(sku) {
        if_match.check(None)?;
        return Ok(Listing { is_new: true, changed: Some(new) });
    }
    let known = store::load_product_for_update(conn, sku).await?.ok_or(sqlx::Error::RowNotFound)?;
    if_match.check(known.listed_version())?;
    let changed = known.relisted(offer);
    if let Some(changed) = &changed {
        store::save_product(conn, changed).await?;
    }
    Ok(Listing { is_new: !known.is_listed, changed })
}

/// Delists a product, which keeps its stock. `None` when it was delisted before, whatever the condition: a repeated
/// request finds its own work done.
///
/// # Errors
/// When the condition does not allow it, and 404 when there never was such a product.
pub async fn delist(
    conn: &mut PgConnection,
    sku: &Sku,
    if_match: &IfMatch,
) -> Result<Option<Product>, Problem> {
    let Some(known) = store::load_product_for_update(conn, sku).await? else {
        if_match.check(None)?;
        return Err(no_such_product(sku));
    };
    let Some(delisted) = known.delisted() else { return Ok(None) };
    if_match.check(known.listed_version())?;
    store::save_product(conn, &delisted).await?;
    Ok(Some(delisted))
}

pub fn no_such_product(sku: &Sku) -> Problem {
    Problem::not_found(format_args!("there is no product {sku}"))
}

/// Lists and stocks the demo catalogue once, however many replicas start at the same time. A product that is listed
/// already is left as it is.
pub async fn list_demo_once(pool: &PgPool, unit_of_work: &UnitOfWork) -> anyhow::Result<()> {
    let mut tx = runtime::database::begin(pool).await?;
    if !store::mark_demo_catalogue(&mut tx).await? {
        return Ok(());
    }
    let mut demo = demo().context("the demo catalogue breaks a rule of the domain")?;
    let products: Vec<Product> = demo.iter().map(|(product, _)| product.clone()).collect();
    let new = store::insert_products(&mut tx, &products).await?;
    demo.retain(|(product, _)| new.contains(&product.sku));
    let (listed, restocks): (Vec<Product>, Vec<Option<Movement>>) = demo.into_iter().unzip();

    let restocks: Vec<Movement> = restocks.into_iter().flatten().collect();
    let mut stock = Stock::default();
    stock.apply(&restocks);
    store::save_stock(&mut tx, &restocks, &stock).await?;
    unit_of_work.commit(tx, publish(&listed)).await?;
    tracing::info!(products = listed.len(), "listed the demo catalogue");
    Ok(())
}

/// Publishes the last change of each product.
pub fn publish(products: &[Product]) -> Effects {
    let event = |product: &Product| OutgoingEvent {
        event: product.event(),
        aggregate_version: product.version,
        origin: CausationContext::current(),
    };
    Effects::publish(products.iter().map(event).collect())
}

/// SKU, name, price in euro cents, pieces on hand.
const DEMO: [(&str, &str, i64, i64); 12] = [
    ("ESPRESSO-1KG", "Espresso beans, 1 kg", 1890, 100_000),
    ("FILTER-1KG", "Filter roast, 1 kg", 1690, 100_000),
    ("DECAF-250G", "Decaf beans, 250 g", 790, 100_000),
    ("MOKA-POT", "Moka pot for three cups", 3450, 20_000),
    ("FRENCH-PRESS", "French press, 1 l", 3990, 20_000),
    ("HAND-GRINDER", "Hand grinder with steel burrs", 8900, 20_000),
    ("SCALE", "Scale with timer, 0.1 g", 4500, 20_000),
    ("KETTLE", "Gooseneck kettle, 0.9 l", 6490, 20_000),
    ("FILTER-PAPER-100", "Filter papers, 100 pieces", 490, 200_000),
    ("ESPRESSO-CUP", "Espresso cup with saucer", 1290, 50_000),
    ("RARE-BEANS", "Competition lot, 100 g", 4900, 3),
    ("SOLD-OUT-MUG", "Anniversary mug", 1500, 0),
];

/// The demo products, each with the restock that fills its shelf, if any.
fn demo() -> anyhow::Result<Vec<(Product, Option<Movement>)>> {
    let product = |(sku, name, amount_minor, on_hand): &(&str, &str, i64, i64)| {
        let sku: Sku = sku.parse()?;
        let price = Money { amount_minor: *amount_minor, currency: "EUR".parse()? };
        let fill = |on_hand: &i64| Level::default().restock(&sku, *on_hand);
        let restock = Some(on_hand).filter(|on_hand| **on_hand > 0).map(fill).transpose()?;
        Ok((Product::new(sku, Offer::new((*name).to_owned(), price)?), restock))
    };
    DEMO.iter().map(product).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_catalogue_obeys_the_rules_and_shows_an_empty_shelf() {
        let demo = demo().expect("the rules");
        let on_hand = |sku: &str| {
            let (_, restock) = demo.iter().find(|(product, _)| product.sku.as_str() == sku).expect(sku);
            restock.as_ref().map_or(0, |restock| restock.quantity)
        };
        assert_eq!((on_hand("RARE-BEANS"), on_hand("SOLD-OUT-MUG")), (3, 0));
    }
}
