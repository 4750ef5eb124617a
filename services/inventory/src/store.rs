//! All SQL of inventory. Rows are loaded and saved many at a time: the number of statements never depends on
//! how many there are. What is locked is locked in key order, stock last, so that replicas cannot deadlock.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use contracts::{Money, OrderId, Sku, StockLine};
use runtime::columns::{column, parse};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

use crate::domain::{Level, Movement, Product, Reason, Reservation, Stock};

pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/inventory");

/// A product with its stock, as the API shows it.
#[derive(Debug, Serialize)]
pub struct Shelf {
    pub sku: Sku,
    pub name: String,
    pub price: Money,
    pub on_hand: i64,
    pub reserved: i64,
    pub available: i64,
    /// Of name and price; the stock has no part in it.
    pub version: i64,
}

/// Makes a placeholder of every reservation that is missing, so that there is a row to lock.
pub async fn insert_placeholders(conn: &mut PgConnection, orders: &BTreeSet<OrderId>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into reservations (order_id)
         select order_id from unnest($1::uuid[]) as missing (order_id) order by order_id
         on conflict do nothing",
        &ids(orders),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Loads the reservations and locks them, in the order of their ids.
pub async fn load_for_update(
    conn: &mut PgConnection,
    orders: &BTreeSet<OrderId>,
) -> sqlx::Result<BTreeMap<OrderId, Reservation>> {
    let rows = sqlx::query_as!(
        ReservationRow,
        r#"select order_id, status, lines as "lines: Json<Vec<StockLine>>", version
           from reservations where order_id = any($1) order by order_id for update"#,
        &ids(orders),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Ok((OrderId(row.order_id), row.try_into()?))).collect()
}

/// One reservation; `None` when nothing is known of the order.
pub async fn reservation(db: impl PgExecutor<'_>, order_id: OrderId) -> sqlx::Result<Option<Reservation>> {
    let row = sqlx::query_as!(
        ReservationRow,
        r#"select order_id, status, lines as "lines: Json<Vec<StockLine>>", version
           from reservations where order_id = $1"#,
        order_id.0,
    )
    .fetch_optional(db)
    .await?;
    row.map(Reservation::try_from).transpose()
}

pub async fn save(conn: &mut PgConnection, changed: &[Reservation]) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update reservations
         set status = changed.status, lines = changed.lines, version = changed.version
         from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::bigint[])
             as changed (order_id, status, lines, version)
         where reservations.order_id = changed.order_id",
        &column(changed, |it| it.order_id.0),
        &column(changed, |it| it.status.into_str()) as _,
        &column(changed, |it| Json(&it.lines)) as _,
        &column(changed, |it| it.version),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Loads the levels of the SKUs that exist and locks them, in the order of the SKUs.
pub async fn load_stock_for_update(
    conn: &mut PgConnection,
    skus: impl IntoIterator<Item = &Sku>,
) -> sqlx::Result<Stock> {
    let skus: Vec<&str> = skus.into_iter().map(Sku::as_str).collect();
    if skus.is_empty() {
        return Ok(Stock::default());
    }
    let rows = sqlx::query!(
        "select sku, on_hand, reserved from stock where sku = any($1) order by sku for update",
        &skus as _,
    )
    .fetch_all(conn)
    .await?;
    let levels = rows
        .into_iter()
        .map(|row| Ok((parse(&row.sku)?, Level { on_hand: row.on_hand, reserved: row.reserved })));
    Ok(Stock(levels.collect::<sqlx::Result<_>>()?))
}

/// Enters movements into the ledger, and saves the levels that they lead to.
pub async fn save_stock(conn: &mut PgConnection, movements: &[Movement], stock: &Stock) -> sqlx::Result<()> {
    if movements.is_empty() {
        return Ok(());
    }
    insert_movements(conn, movements).await?;
    let moved: BTreeSet<&Sku> = movements.iter().map(|movement| &movement.sku).collect();
    let levels: Vec<(&Sku, &Level)> = stock.0.iter().filter(|(sku, _)| moved.contains(sku)).collect();
    sqlx::query!(
        "update stock set on_hand = moved.on_hand, reserved = moved.reserved
         from unnest($1::text[], $2::bigint[], $3::bigint[]) as moved (sku, on_hand, reserved)
         where stock.sku = moved.sku",
        &column(&levels, |(sku, _)| sku.as_str()) as _,
        &column(&levels, |(_, level)| level.on_hand),
        &column(&levels, |(_, level)| level.reserved),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_movements(conn: &mut PgConnection, movements: &[Movement]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into stock_movements (sku, kind, order_id, on_hand_delta, reserved_delta, reason)
         select * from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::bigint[], $6::text[])",
        &column(movements, |movement| movement.sku.as_str()) as _,
        &column(movements, |movement| movement.kind.into_str()) as _,
        &column(movements, |movement| movement.order_id.map(|id| id.0)) as _,
        &column(movements, |movement| movement.on_hand_delta()),
        &column(movements, |movement| movement.reserved_delta()),
        &column(movements, |movement| movement.reason.as_ref().map(Reason::as_str)) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lists the products that were never listed, each with nothing in stock, and says which these are.
pub async fn insert_products(conn: &mut PgConnection, products: &[Product]) -> sqlx::Result<HashSet<Sku>> {
    let listed = sqlx::query_scalar!(
        r#"with listed as (
             insert into products (sku, name, price_minor, currency, version)
             select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[]) as new (sku)
             order by sku
             on conflict do nothing
             returning sku
           )
           insert into stock (sku) select sku from listed returning sku"#,
        &column(products, |product| product.sku.as_str()) as _,
        &column(products, |product| product.name.as_str()) as _,
        &column(products, |product| product.price.amount_minor),
        &column(products, |product| product.price.currency.as_str()) as _,
        &column(products, |product| product.version),
    )
    .fetch_all(conn)
    .await?;
    listed.iter().map(|sku| parse(sku)).collect()
}

/// Loads a product, listed or not, and locks it; none when it was never listed.
pub async fn load_product_for_update(conn: &mut PgConnection, sku: &Sku) -> sqlx::Result<Option<Product>> {
    let row = sqlx::query!(
        "select name, price_minor, currency, is_listed, version
         from products where sku = $1 for no key update",
        sku.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let price = Money { amount_minor: row.price_minor, currency: parse(&row.currency)? };
        let (sku, name) = (sku.clone(), row.name);
        Ok(Product { sku, name, price, is_listed: row.is_listed, version: row.version })
    })
    .transpose()
}

pub async fn save_product(conn: &mut PgConnection, product: &Product) -> sqlx::Result<()> {
    sqlx::query!(
        "update products set name = $2, price_minor = $3, currency = $4, is_listed = $5, version = $6
         where sku = $1",
        product.sku.as_str(),
        product.name,
        product.price.amount_minor,
        product.price.currency.as_str(),
        product.is_listed,
        product.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One product with its stock; none when it is not listed.
pub async fn shelf(db: impl PgExecutor<'_>, sku: &Sku) -> sqlx::Result<Option<Shelf>> {
    let row = sqlx::query_as!(
        ShelfRow,
        "select sku, name, price_minor, currency, version, on_hand, reserved
         from products join stock using (sku) where sku = $1 and is_listed",
        sku.as_str(),
    )
    .fetch_optional(db)
    .await?;
    row.map(Shelf::try_from).transpose()
}

/// Listed products with their stock in the order of their SKUs, from after the given one.
pub async fn shelves(db: impl PgExecutor<'_>, after: Option<&Sku>, rows: i64) -> sqlx::Result<Vec<Shelf>> {
    let rows = sqlx::query_as!(
        ShelfRow,
        "select sku, name, price_minor, currency, version, on_hand, reserved
         from products join stock using (sku) where sku > $1 and is_listed order by sku limit $2",
        after.map_or("", Sku::as_str),
        rows,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Shelf::try_from).collect()
}

/// Marks the demo catalogue as listed. False when it was before; waits for another replica that is at it.
pub async fn mark_demo_catalogue(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let marked = sqlx::query!("insert into demo_catalogue default values on conflict do nothing")
        .execute(conn)
        .await?;
    Ok(marked.rows_affected() == 1)
}

struct ReservationRow {
    order_id: Uuid,
    status: String,
    lines: Json<Vec<StockLine>>,
    version: i64,
}

impl TryFrom<ReservationRow> for Reservation {
    type Error = sqlx::Error;

    fn try_from(row: ReservationRow) -> sqlx::Result<Self> {
        Ok(Self {
            order_id: OrderId(row.order_id),
            status: parse(&row.status)?,
            lines: row.lines.0,
            version: row.version,
        })
    }
}

struct ShelfRow {
    sku: String,
    name: String,
    price_minor: i64,
    currency: String,
    version: i64,
    on_hand: i64,
    reserved: i64,
}

impl TryFrom<ShelfRow> for Shelf {
    type Error = sqlx::Error;

    fn try_from(row: ShelfRow) -> sqlx::Result<Self> {
        let ShelfRow { sku, name, price_minor, currency, version, on_hand, reserved } = row;
        let price = Money { amount_minor: price_minor, currency: parse(&currency)? };
        let available = Level { on_hand, reserved }.available();
        Ok(Self { sku: parse(&sku)?, name, price, on_hand, reserved, available, version })
    }
}

fn ids(orders: &BTreeSet<OrderId>) -> Vec<Uuid> {
    orders.iter().map(|order_id| order_id.0).collect()
}
