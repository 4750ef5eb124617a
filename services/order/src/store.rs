//! All SQL of this service. Every function takes a connection; those of a batch take and give many, in one
//! statement each.

mod flow;
mod prices;

pub use flow::{lock_message_flow, message_flow, save_message_flow};
pub use prices::{prices, save_prices};

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{CancelReason, Customer, CustomerId, Event, EventSet, Money, OrderId, OrderLine, Versions};
use runtime::columns::{column, parse};
use sqlx::{PgConnection, migrate::Migrator, types::Json};
use uuid::Uuid;

use crate::{
    domain::{Deadlines, Order},
    event_log::RecordedEvent,
    state::Status,
};

pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/order");

pub async fn insert(conn: &mut PgConnection, orders: &[&Order]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into orders (id, customer_id, customer_email, lines, total_minor, currency, payment_method,
             placed_at, deadline_at, latest_deadline_at, capture_deadline_at, status, stock, payment, consumed, version)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::bigint[], $6::text[], $7::text[],
             $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[],
             $14::text[], $15::jsonb[], $16::bigint[])",
        &column(orders, |order| order.id.0),
        &column(orders, |order| order.customer.id.as_str()) as _,
        &column(orders, |order| order.customer.email.as_str()) as _,
        &column(orders, |order| Json(&order.lines)) as _,
        &column(orders, |order| order.total.amount_minor),
        &column(orders, |order| order.total.currency.as_str()) as _,
        &column(orders, |order| order.payment_method.as_str()) as _,
        &column(orders, |order| order.placed_at),
        &column(orders, |order| order.deadlines.decision),
        &column(orders, |order| order.deadlines.latest_decision),
        &column(orders, |order| order.deadlines.capture),
        &column(orders, |order| order.status.into_str()) as _,
        &column(orders, |order| order.stock.into_str()) as _,
        &column(orders, |order| order.payment.into_str()) as _,
        &column(orders, |order| consumed(order)) as _,
        &column(orders, |order| order.version),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Saves what facts and time can change of orders that this transaction has locked. A reason stays: a later build may have
/// written one that reads as `other` here.
pub async fn save(conn: &mut PgConnection, orders: &[Order]) -> sqlx::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update orders set status = changed.status, reason = coalesce(orders.reason, changed.reason),
             stock = changed.stock, payment = changed.payment, refunded_minor = changed.refunded_minor,
             consumed = changed.consumed, version = changed.version, deadline_at = changed.deadline_at,
             capture_deadline_at = changed.capture_deadline_at
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::jsonb[], $8::bigint[],
             $9::timestamptz[], $10::timestamptz[])
             as changed (id, status, reason, stock, payment, refunded_minor, consumed, version, deadline_at,
                 capture_deadline_at)
         where orders.id = changed.id",
        &column(orders, |order| order.id.0),
        &column(orders, |order| order.status.into_str()) as _,
        &column(orders, |order| order.reason.map(|reason| reason.into_str())) as _,
        &column(orders, |order| order.stock.into_str()) as _,
        &column(orders, |order| order.payment.into_str()) as _,
        &column(orders, |order| order.refunded_minor),
        &column(orders, |order| consumed(order)) as _,
        &column(orders, |order| order.version),
        &column(orders, |order| order.deadlines.decision),
        &column(orders, |order| order.deadlines.capture),
    )
    .execute(conn)
    .await?;
    Ok(())
}

struct Row {
    id: Uuid,
    customer_id: String,
    customer_email: String,
    lines: Json<Vec<OrderLine>>,
    total_minor: i64,
    currency: String,
    payment_method: String,
    placed_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    latest_deadline_at: DateTime<Utc>,
    capture_deadline_at: DateTime<Utc>,
    status: String,
    reason: Option<String>,
    stock: String,
    payment: String,
    refunded_minor: i64,
    consumed: Json<Vec<(String, i64)>>,
    version: i64,
}

/// Reads the orders that the rest of the statement chooses.
macro_rules! select_orders {
    ($conn:expr, $rest:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query_as!(
            Row,
            r#"select id, customer_id, customer_email, lines as "lines: Json<Vec<OrderLine>>", total_minor, currency,
                   payment_method, placed_at, deadline_at, latest_deadline_at, capture_deadline_at, status, reason, stock,
                   payment, refunded_minor, consumed as "consumed: Json<Vec<(String, i64)>>", version
               from orders "# + $rest
            $(, $argument)*
        );
        rows.fetch_all($conn).await?.into_iter().map(Order::try_from).collect::<sqlx::Result<Vec<Order>>>()
    }};
}

pub async fn load(conn: &mut PgConnection, order_id: OrderId) -> sqlx::Result<Option<Order>> {
    Ok(select_orders!(conn, "where id = $1", order_id.0)?.pop())
}

/// Those of the orders that there are, locked in the order of their ids until the transaction ends.
pub async fn load_for_update(
    conn: &mut PgConnection,
    order_ids: &[OrderId],
) -> sqlx::Result<BTreeMap<OrderId, Order>> {
    if order_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids = column(order_ids, |order_id| order_id.0);
    let orders = select_orders!(conn, "where id = any($1) order by id for update", &ids)?;
    Ok(orders.into_iter().map(|order| (order.id, order)).collect())
}

/// Up to `limit` orders that are pending or confirmed and whose deadline has come by the database's clock, locked. Those
/// that another transaction has locked are left to it.
pub async fn claim_expired(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Order>> {
    select_orders!(
        conn,
        "where id = any(array(
             select id from orders where status = 'pending' and deadline_at <= now() order by deadline_at limit $1
         ) || array(
             select id from orders where status = 'confirmed' and capture_deadline_at <= now()
             order by capture_deadline_at limit $1
         ))
         and (status = 'pending' and deadline_at <= now() or status = 'confirmed' and capture_deadline_at <= now())
         order by id limit $1 for update skip locked",
        limit
    )
}

/// The time until the earliest deadline of an order that is pending or confirmed, negative when it has come; `None` when
/// there is no such order.
pub async fn until_next_deadline(conn: &mut PgConnection) -> sqlx::Result<Option<TimeDelta>> {
    let row = sqlx::query!(
        r#"select now() as "now!", least(
             (select deadline_at from orders where status = 'pending' order by deadline_at limit 1),
             (select capture_deadline_at from orders where status = 'confirmed' order by capture_deadline_at limit 1))
             as next"#
    )
    .fetch_one(conn)
    .await?;
    Ok(row.next.map(|next| next - row.now))
}

/// How many orders are pending, counted up to `cap`.
pub async fn count_pending(conn: &mut PgConnection, cap: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select from orders where status = 'pending' limit $1) as pending"#,
        cap
    )
    .fetch_one(conn)
    .await
}

/// Lists up to `limit` orders from before a place in the list, the newest first. One statement for each index, since no
/// plan for all of them would be good.
pub async fn list(
    conn: &mut PgConnection,
    status: Option<Status>,
    customer: Option<&CustomerId>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Order>> {
    let (placed_at, id) = before.unwrap_or((DateTime::<Utc>::MAX_UTC, Uuid::max()));
    // A cursor may be made up, and the database's calendar begins later than ours.
    let placed_at = placed_at.max(DateTime::UNIX_EPOCH);
    let (customer, status) = (customer.map(CustomerId::as_str), status.map(<&str>::from));
    match (customer, status) {
        (Some(customer), Some(status)) => select_orders!(
            conn,
            "where customer_id = $1 and status = $2 and (placed_at, id) < ($3, $4)
                 order by placed_at desc, id desc limit $5",
            customer,
            status,
            placed_at,
            id,
            limit
        ),
        (Some(customer), None) => select_orders!(
            conn,
            "where customer_id = $1 and (placed_at, id) < ($2, $3) order by placed_at desc, id desc limit $4",
            customer,
            placed_at,
            id,
            limit
        ),
        (None, Some(status)) => select_orders!(
            conn,
            "where status = $1 and (placed_at, id) < ($2, $3) order by placed_at desc, id desc limit $4",
            status,
            placed_at,
            id,
            limit
        ),
        (None, None) => select_orders!(
            conn,
            "where (placed_at, id) < ($1, $2) order by placed_at desc, id desc limit $3",
            placed_at,
            id,
            limit
        ),
    }
}

/// Appends to the logs of orders that this transaction has locked or inserted.
pub async fn append(conn: &mut PgConnection, entries: &[RecordedEvent]) -> sqlx::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into order_events (order_id, version, aggregate_version, direction, event_id, type, schema_version, data,
             occurred_at, recorded_at)
         select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::text[], $7::integer[],
             $8::jsonb[], $9::timestamptz[], $10::timestamptz[])",
        &column(entries, |entry| entry.order_id.0),
        &column(entries, |entry| entry.version),
        &column(entries, |entry| entry.aggregate_version),
        &column(entries, |entry| entry.direction()) as _,
        &column(entries, |entry| entry.event_id) as _,
        &column(entries, |entry| entry.event.row().name) as _,
        &column(entries, |entry| entry.event.row().version.cast_signed()),
        &column(entries, |entry| Json(&entry.event)) as _,
        &column(entries, |entry| entry.occurred_at),
        &column(entries, |entry| entry.recorded_at),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn log(
    conn: &mut PgConnection,
    versions: &Versions<Event>,
    order_id: OrderId,
) -> sqlx::Result<Vec<RecordedEvent>> {
    let rows = sqlx::query!(
        r#"select version, aggregate_version, event_id, type as event_type, schema_version, data::text as "data!",
               occurred_at, recorded_at
           from order_events where order_id = $1 order by version"#,
        order_id.0
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(RecordedEvent {
                order_id,
                version: row.version,
                aggregate_version: row.aggregate_version,
                event_id: row.event_id,
                event: versions
                    .decode(&row.event_type, row.schema_version.cast_unsigned(), &row.data)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
                occurred_at: row.occurred_at,
                recorded_at: row.recorded_at,
            })
        })
        .collect()
}

impl TryFrom<Row> for Order {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let consumed = row.consumed.iter().map(|(name, version)| Ok((parse(name)?, *version)));
        Ok(Self {
            id: OrderId(row.id),
            customer: Customer { id: parse(&row.customer_id)?, email: parse(&row.customer_email)? },
            lines: row.lines.0,
            total: Money { amount_minor: row.total_minor, currency: parse(&row.currency)? },
            payment_method: parse(&row.payment_method)?,
            placed_at: row.placed_at,
            deadlines: Deadlines {
                decision: row.deadline_at,
                latest_decision: row.latest_deadline_at,
                capture: row.capture_deadline_at,
            },
            status: parse(&row.status)?,
            reason: row.reason.as_deref().map(CancelReason::from_stored),
            stock: parse(&row.stock)?,
            payment: parse(&row.payment)?,
            refunded_minor: row.refunded_minor,
            consumed: consumed.collect::<sqlx::Result<_>>()?,
            version: row.version,
        })
    }
}

/// What an order has consumed, as it is stored: `[["payment.refunded", 4]]`.
fn consumed(order: &Order) -> Json<Vec<(&'static str, i64)>> {
    Json(order.consumed.iter().map(|(event_type, version)| (event_type.name(), *version)).collect())
}
