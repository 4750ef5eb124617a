//! The payments and their ledger in Postgres. All of the service's SQL is here.
//!
//! Loading and saving take any number of payments in a fixed number of statements.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::{Money, OrderId};
use http_api::page::Limit;
use runtime::columns::{column, parse};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::domain::{Moved, Payment, Status, Terms};
use crate::ledger::NewPosting;

/// An entry of the ledger as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct WrittenEntry {
    pub(crate) account: String,
    /// What the account gained or, when negative, lost.
    pub(crate) amount: Money,
    pub(crate) posting: String,
    pub(crate) at: DateTime<Utc>,
}

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/payment");

/// Inserts those placeholders whose order has no payment, so that each can be locked.
pub(crate) async fn insert_placeholders(
    conn: &mut PgConnection,
    placeholders: &[Payment],
) -> sqlx::Result<()> {
    if placeholders.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into payments (order_id, payment_id)
         select order_id, payment_id from unnest($1::uuid[], $2::uuid[]) as new (order_id, payment_id)
         order by order_id
         on conflict (order_id) do nothing",
        &column(placeholders, |payment| payment.order_id.0),
        &column(placeholders, |payment| payment.payment_id),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks and loads the payments of these orders.
pub(crate) async fn load_for_update(
    conn: &mut PgConnection,
    order_ids: &[OrderId],
) -> sqlx::Result<BTreeMap<OrderId, Payment>> {
    let rows = sqlx::query_as!(
        Row,
        "select order_id, payment_id, status, cancel_requested, amount_minor, currency, method, authorization_id,
                reason, captured_minor, refunded_minor, refunds, version
         from payments where order_id = any($1) order by order_id for update",
        &column(order_ids, |order_id| order_id.0),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Payment::try_from(row).map(|payment| (payment.order_id, payment))).collect()
}

/// Saves payments that were loaded for update.
pub(crate) async fn save(conn: &mut PgConnection, payments: &[Payment]) -> sqlx::Result<()> {
    if payments.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update payments
         set status = changed.status, cancel_requested = changed.cancel_requested,
             amount_minor = changed.amount_minor, currency = changed.currency, method = changed.method,
             authorization_id = changed.authorization_id, reason = changed.reason,
             captured_minor = changed.captured_minor, refunded_minor = changed.refunded_minor,
             refunds = changed.refunds, version = changed.version
         from unnest($1::uuid[], $2::text[], $3::bool[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                     $8::text[], $9::bigint[], $10::bigint[], $11::integer[], $12::bigint[])
             as changed (order_id, status, cancel_requested, amount_minor, currency, method, authorization_id,
                         reason, captured_minor, refunded_minor, refunds, version)
         where payments.order_id = changed.order_id",
        &column(payments, |payment| payment.order_id.0),
        &column(payments, |payment| payment.status.into_str()) as _,
        &column(payments, |payment| payment.cancel_requested),
        &column(payments, |payment| payment.terms.as_ref().map(|terms| terms.amount.amount_minor)) as _,
        &column(payments, |payment| payment.terms.as_ref().map(|terms| terms.amount.currency.as_str())) as _,
        &column(payments, |payment| payment.terms.as_ref().map(|terms| terms.method.as_str())) as _,
        &column(payments, |payment| payment.authorization_id.as_deref()) as _,
        &column(payments, |payment| payment.reason.as_deref()) as _,
        &column(payments, |payment| payment.moved.captured_minor),
        &column(payments, |payment| payment.moved.refunded_minor),
        &column(payments, |payment| payment.moved.refunds),
        &column(payments, |payment| payment.version),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds the entries of the postings to the ledger, all in one statement: the database sums up each posting when
/// the statement ends.
pub(crate) async fn post(
    conn: &mut PgConnection,
    postings: &[NewPosting],
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    if postings.is_empty() {
        return Ok(());
    }
    let entries = postings.iter().flat_map(|new| new.posting.entries().map(|entry| (new, entry)));
    let entries: Vec<_> = entries.collect();
    sqlx::query!(
        "insert into ledger_entries (order_id, posting, number, account, amount_minor, currency, at)
         select order_id, posting, number, account, amount_minor, currency, $7
         from unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::bigint[], $6::text[])
             as entry (order_id, posting, number, account, amount_minor, currency)",
        &column(&entries, |(new, _)| new.order_id.0),
        &column(&entries, |(new, _)| new.posting.kind.into_str()) as _,
        &column(&entries, |(new, _)| new.posting.number),
        &column(&entries, |(_, entry)| entry.account.into_str()) as _,
        &column(&entries, |(_, entry)| entry.amount.amount_minor),
        &column(&entries, |(_, entry)| entry.amount.currency.as_str()) as _,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The payment of an order with its ledger, oldest entry first, both of one moment; none when it has no payment.
pub(crate) async fn find(
    pool: &PgPool,
    order_id: OrderId,
) -> sqlx::Result<Option<(Payment, Vec<WrittenEntry>)>> {
    let mut tx = runtime::database::snapshot(pool).await?;
    let row = sqlx::query_as!(
        Row,
        "select order_id, payment_id, status, cancel_requested, amount_minor, currency, method, authorization_id,
                reason, captured_minor, refunded_minor, refunds, version
         from payments where order_id = $1",
        order_id.0,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let entries = sqlx::query!(
        "select account, amount_minor, currency, posting, at from ledger_entries where order_id = $1 order by id",
        order_id.0,
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let entries = entries.into_iter().map(|row| {
        let amount = money(row.amount_minor, &row.currency)?;
        Ok(WrittenEntry { account: row.account, amount, posting: row.posting, at: row.at })
    });
    Ok(Some((row.try_into()?, entries.collect::<sqlx::Result<_>>()?)))
}

/// The payments before a place in the list, newest order first: as many rows as the limit asks for. A statement for each
/// index.
pub(crate) async fn list(
    pool: &PgPool,
    status: Option<Status>,
    before: Option<Uuid>,
    limit: Limit,
) -> sqlx::Result<Vec<Payment>> {
    let before = before.unwrap_or(Uuid::max());
    let rows = match status {
        Some(status) => {
            sqlx::query_as!(
                Row,
                "select order_id, payment_id, status, cancel_requested, amount_minor, currency, method, authorization_id,
                        reason, captured_minor, refunded_minor, refunds, version
                 from payments where status = $1 and order_id < $2 order by order_id desc limit $3",
                status.into_str(),
                before,
                limit.rows(),
            )
            .fetch_all(pool)
            .await?
        }
        None => {
            sqlx::query_as!(
                Row,
                "select order_id, payment_id, status, cancel_requested, amount_minor, currency, method, authorization_id,
                        reason, captured_minor, refunded_minor, refunds, version
                 from payments where order_id < $1 order by order_id desc limit $2",
                before,
                limit.rows(),
            )
            .fetch_all(pool)
            .await?
        }
    };
    rows.into_iter().map(Payment::try_from).collect()
}

struct Row {
    order_id: Uuid,
    payment_id: Uuid,
    status: String,
    cancel_requested: bool,
    amount_minor: Option<i64>,
    currency: Option<String>,
    method: Option<String>,
    authorization_id: Option<String>,
    reason: Option<String>,
    captured_minor: i64,
    refunded_minor: i64,
    refunds: i32,
    version: i64,
}

impl TryFrom<Row> for Payment {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let terms = match (row.amount_minor, row.currency, row.method) {
            (Some(amount_minor), Some(currency), Some(method)) => {
                Some(Terms { amount: money(amount_minor, &currency)?, method: parse(&method)? })
            }
            _ => None,
        };
        Ok(Self {
            order_id: OrderId(row.order_id),
            payment_id: row.payment_id,
            status: parse(&row.status)?,
            cancel_requested: row.cancel_requested,
            terms,
            authorization_id: row.authorization_id,
            reason: row.reason,
            moved: Moved {
                captured_minor: row.captured_minor,
                refunded_minor: row.refunded_minor,
                refunds: row.refunds,
            },
            version: row.version,
        })
    }
}

fn money(amount_minor: i64, currency: &str) -> sqlx::Result<Money> {
    Ok(Money { amount_minor, currency: parse(currency)? })
}
