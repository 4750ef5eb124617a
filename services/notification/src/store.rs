//! All SQL of the service. Load many, save many: the number of statements does not grow with the batch.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::{Email, NotificationKind, OrderId};
use http_api::page::Limit;
use runtime::columns::{column, parse};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::domain::{Notification, OrderNotifications};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/notification");

/// Makes a placeholder of every order that has none: `for update` locks no row that is not there.
pub(crate) async fn insert_placeholders(conn: &mut PgConnection, orders: &[Uuid]) -> sqlx::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into order_notifications (order_id)
         select id from unnest($1::uuid[]) as id order by id
         on conflict do nothing",
        orders,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks the order_notifications of these orders, in the order of their ids, and loads them with their
/// notifications.
pub(crate) async fn load_for_update(
    conn: &mut PgConnection,
    orders: &[Uuid],
) -> sqlx::Result<BTreeMap<OrderId, OrderNotifications>> {
    let rows = sqlx::query!(
        "select order_id, contact, version from order_notifications
         where order_id = any($1) order by order_id for update",
        orders,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut loaded = BTreeMap::new();
    for row in rows {
        let mut mails = OrderNotifications::placeholder(OrderId(row.order_id));
        mails.version = row.version;
        mails.contact = row.contact.as_deref().map(parse::<Email>).transpose()?;
        loaded.insert(mails.order_id, mails);
    }
    let rows = sqlx::query!(
        "select id, order_id, kind, aggregate_version, status, body, attempts, reason, sent_at from notifications
         where order_id = any($1)",
        orders,
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let Some(mails) = loaded.get_mut(&OrderId(row.order_id)) else {
            continue;
        };
        let notification = Notification {
            id: row.id,
            status: parse(&row.status)?,
            body: row.body,
            attempts: row.attempts,
            reason: row.reason,
            sent_at: row.sent_at,
        };
        mails.notifications.insert((parse(&row.kind)?, row.aggregate_version), notification);
    }
    Ok(loaded)
}

/// Saves order_notifications that [`load_for_update`] locked.
pub(crate) async fn save(conn: &mut PgConnection, changed: &[OrderNotifications]) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update order_notifications as it set contact = new.contact, version = new.version
         from unnest($1::uuid[], $2::text[], $3::bigint[]) as new (order_id, contact, version)
         where it.order_id = new.order_id and it.version < new.version",
        &column(changed, |mails| mails.order_id.0),
        &column(changed, |mails| mails.contact.as_ref().map(Email::as_str)) as _,
        &column(changed, |mails| mails.version),
    )
    .execute(&mut *conn)
    .await?;
    save_notifications(conn, changed).await
}

/// An upsert, which cannot overwrite what another replica wrote: the order's mails is locked.
async fn save_notifications(conn: &mut PgConnection, changed: &[OrderNotifications]) -> sqlx::Result<()> {
    let rows: Vec<_> = changed
        .iter()
        .flat_map(|mails| mails.notifications.iter().map(|(key, it)| (mails.order_id, key, it)))
        .collect();
    sqlx::query!(
        "insert into notifications (id, order_id, kind, aggregate_version, status, body, attempts, reason, sent_at)
         select * from unnest(
             $1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::integer[], $8::text[],
             $9::timestamptz[])
         on conflict (id) do update set
             status = excluded.status, attempts = excluded.attempts,
             reason = excluded.reason, sent_at = excluded.sent_at
         where notifications.status <> excluded.status",
        &column(&rows, |(_, _, it)| it.id),
        &column(&rows, |(order_id, _, _)| order_id.0),
        &column(&rows, |(_, (kind, _), _)| kind.into_str()) as _,
        &column(&rows, |(_, (_, version), _)| *version),
        &column(&rows, |(_, _, it)| it.status.into_str()) as _,
        &column(&rows, |(_, _, it)| it.body.as_str()) as _,
        &column(&rows, |(_, _, it)| it.attempts),
        &column(&rows, |(_, _, it)| it.reason.as_deref()) as _,
        &column(&rows, |(_, _, it)| it.sent_at) as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) order_id: OrderId,
    pub(crate) kind: NotificationKind,
    pub(crate) recipient: String,
    pub(crate) body: String,
}

/// The mail of a notification that is queued: none once it is dropped, or done.
pub(crate) async fn outgoing(pool: &PgPool, notification: Uuid) -> sqlx::Result<Option<Outgoing>> {
    let row = sqlx::query!(
        r#"select order_id, kind, body, contact as "recipient!"
           from notifications join order_notifications using (order_id)
           where id = $1 and status = 'queued'"#,
        notification,
    )
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(Outgoing {
            order_id: OrderId(row.order_id),
            kind: parse(&row.kind)?,
            recipient: row.recipient,
            body: row.body,
        })
    })
    .transpose()
}

/// Notes on a notification that stays queued how often the mail server was called, and why it failed.
pub(crate) async fn note_attempt(
    pool: &PgPool,
    notification: Uuid,
    attempts: i32,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update notifications set attempts = $2, reason = $3 where id = $1 and status = 'queued'",
        notification,
        attempts,
        reason,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A notification as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) kind: String,
    pub(crate) recipient: Option<String>,
    pub(crate) status: String,
    pub(crate) attempts: i32,
    pub(crate) reason: Option<String>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
}

/// Notifications, the newest first, of one order or of all, from before the one that the last page ended with.
pub(crate) async fn list(
    pool: &PgPool,
    order: Option<OrderId>,
    before: Option<Uuid>,
    limit: Limit,
) -> sqlx::Result<Vec<Listed>> {
    let before = before.unwrap_or(Uuid::max());
    let Some(order) = order else {
        return sqlx::query_as!(
            Listed,
            "select id, order_id, kind, contact as recipient, status, attempts, reason, sent_at
             from notifications join order_notifications using (order_id)
             where id < $1 order by id desc limit $2",
            before,
            limit.rows(),
        )
        .fetch_all(pool)
        .await;
    };
    sqlx::query_as!(
        Listed,
        "select id, order_id, kind, contact as recipient, status, attempts, reason, sent_at
         from notifications join order_notifications using (order_id)
         where order_id = $1 and id < $2 order by id desc limit $3",
        order.0,
        before,
        limit.rows(),
    )
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::domain::Status;

    #[test]
    fn the_schema_knows_every_status_and_kind() {
        let schema = include_str!("../../../migrations/notification/0001_notifications.sql");
        for word in Status::VARIANTS
            .iter()
            .map(|it| it.into_str())
            .chain(NotificationKind::KNOWN.iter().map(|it| it.into_str()))
        {
            assert!(schema.contains(&format!("'{word}'")), "{word}");
        }
    }
}
