//! All SQL of the service. The number of statements does not grow with the batch, and what the summary reads does
//! not grow with history.
//!
//! There is one writer at a time, the reader of the stream, so that upserts and merges have no rival.

use std::collections::{BTreeMap, HashMap};

use contracts::{CancelReason, Money, OrderId};
use runtime::columns::{column, parse};
use sqlx::{PgConnection, PgPool, migrate::Migrator, types::Json};
use uuid::Uuid;

use crate::domain::{Counts, OrderFacts, Projection, Revenue, Status};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/analytics");

/// What is known of these orders; an order that nothing is known of is missing.
pub(crate) async fn load(
    conn: &mut PgConnection,
    orders: &[Uuid],
) -> sqlx::Result<HashMap<OrderId, OrderFacts>> {
    let rows = sqlx::query!(
        r#"select order_id, placed_at, confirmed_at, completed_at, cancelled_at, cancel_reason,
                captures as "captures: Json<BTreeMap<i64, Money>>", refunds as "refunds: Json<BTreeMap<i64, Money>>",
                mails as "mails: Json<BTreeMap<Uuid, bool>>"
         from orders where order_id = any($1)"#,
        orders,
    )
    .fetch_all(conn)
    .await?;
    let facts = rows.into_iter().map(|row| {
        let reason = row.cancel_reason.as_deref().map(CancelReason::from_stored);
        let facts = OrderFacts {
            placed_at: row.placed_at,
            confirmed_at: row.confirmed_at,
            completed_at: row.completed_at,
            cancelled: row.cancelled_at.zip(reason),
            captures: row.captures.0,
            refunds: row.refunds.0,
            mails: row.mails.0,
        };
        (OrderId(row.order_id), facts)
    });
    Ok(facts.collect())
}

/// Saves what a batch taught, and adds to the counts what that changes.
pub(crate) async fn save(conn: &mut PgConnection, projection: &Projection) -> sqlx::Result<()> {
    save_orders(conn, projection).await?;
    let delta = &projection.delta;
    add_orders(conn, delta).await?;
    add_revenue(conn, delta).await?;
    add_totals(conn, delta).await
}

async fn save_orders(conn: &mut PgConnection, projection: &Projection) -> sqlx::Result<()> {
    let orders: Vec<_> = projection.changed().collect();
    sqlx::query!(
        "insert into orders (
             order_id, placed_at, confirmed_at, completed_at, cancelled_at, cancel_reason,
             captures, refunds, mails)
         select * from unnest(
             $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::text[],
             $7::jsonb[], $8::jsonb[], $9::jsonb[])
         on conflict (order_id) do update set
             placed_at = excluded.placed_at, confirmed_at = excluded.confirmed_at,
             completed_at = excluded.completed_at, cancelled_at = excluded.cancelled_at,
             cancel_reason = excluded.cancel_reason,
             captures = excluded.captures, refunds = excluded.refunds, mails = excluded.mails",
        &column(&orders, |(order_id, _)| order_id.0),
        &column(&orders, |(_, order)| order.placed_at) as _,
        &column(&orders, |(_, order)| order.confirmed_at) as _,
        &column(&orders, |(_, order)| order.completed_at) as _,
        &column(&orders, |(_, order)| order.cancelled.map(|(time, _)| time)) as _,
        &column(&orders, |(_, order)| order.cancelled.map(|(_, reason)| reason.into_str())) as _,
        &column(&orders, |(_, order)| Json(&order.captures)) as _,
        &column(&orders, |(_, order)| Json(&order.refunds)) as _,
        &column(&orders, |(_, order)| Json(&order.mails)) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A merge and no upsert: a delta may be below zero, which an insert's check would refuse before the conflict shows.
async fn add_orders(conn: &mut PgConnection, delta: &Counts) -> sqlx::Result<()> {
    if delta.orders.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "merge into order_counts as it
         using unnest($1::text[], $2::text[], $3::bigint[]) as delta (status, cancel_reason, orders)
         on it.status = delta.status and it.cancel_reason is not distinct from delta.cancel_reason
         when matched then update set orders = it.orders + delta.orders
         when not matched then insert values (delta.status, delta.cancel_reason, delta.orders)",
        &column(&delta.orders, |(status, _)| status.into_str()) as _,
        &column(&delta.orders, |(status, _)| status.reason().map(|reason| reason.into_str())) as _,
        &column(&delta.orders, |(_, orders)| *orders),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_revenue(conn: &mut PgConnection, delta: &Counts) -> sqlx::Result<()> {
    if delta.revenue.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "merge into revenue as it
         using unnest($1::text[], $2::bigint[], $3::bigint[]) as delta (currency, captured_minor, refunded_minor)
         on it.currency = delta.currency
         when matched then update set
             captured_minor = it.captured_minor + delta.captured_minor,
             refunded_minor = it.refunded_minor + delta.refunded_minor
         when not matched then insert values (delta.currency, delta.captured_minor, delta.refunded_minor)",
        &column(&delta.revenue, |(currency, _)| currency.as_str()) as _,
        &column(&delta.revenue, |(_, revenue)| revenue.captured_minor),
        &column(&delta.revenue, |(_, revenue)| revenue.refunded_minor),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn add_totals(conn: &mut PgConnection, delta: &Counts) -> sqlx::Result<()> {
    sqlx::query!(
        "update totals set
             mails_sent = mails_sent + $1, mails_failed = mails_failed + $2, events = events + $3,
             newest_event_at = greatest(newest_event_at, least($4, now()))",
        delta.mails_sent,
        delta.mails_failed,
        delta.events,
        delta.newest_event_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// All counts, as of one moment.
pub(crate) async fn counts(pool: &PgPool) -> sqlx::Result<Counts> {
    let mut tx = runtime::database::snapshot(pool).await?;
    let totals = sqlx::query!("select mails_sent, mails_failed, events, newest_event_at from totals")
        .fetch_one(&mut *tx)
        .await?;
    let mut counts = Counts {
        mails_sent: totals.mails_sent,
        mails_failed: totals.mails_failed,
        events: totals.events,
        newest_event_at: totals.newest_event_at,
        ..Counts::default()
    };
    let rows =
        sqlx::query!("select status, cancel_reason, orders from order_counts").fetch_all(&mut *tx).await?;
    for row in rows {
        let status = Status::from_words(&row.status, row.cancel_reason.as_deref()).ok_or_else(|| {
            sqlx::Error::Decode(format!("{:?} is not an order's status", row.status).into())
        })?;
        counts.orders.insert(status, row.orders);
    }
    let rows = sqlx::query!("select currency, captured_minor, refunded_minor from revenue")
        .fetch_all(&mut *tx)
        .await?;
    for row in rows {
        let revenue = Revenue { captured_minor: row.captured_minor, refunded_minor: row.refunded_minor };
        counts.revenue.insert(parse(&row.currency)?, revenue);
    }
    tx.commit().await?;
    Ok(counts)
}
