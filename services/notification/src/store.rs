//! All SQL of the service. Load many, save many: the number of statements does not grow with the batch.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::{Email, NotificationKind, OrderId};
use http_api::page::Limit;
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use uuid::Uuid;

use crate::domain::{Notification, OrderNotifications};

/// The migrations of the service's own tables.
pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/notification");

/// Makes sure that every order has a row to lock: `for update` locks none that is not there.
pub(crate) async fn insert_placeholders(conn: &mut PgConnection, orders: &[Uuid]) -> sqlx::Result<()> {
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
) -> sqlx::Result<HashMap<OrderId, OrderNotifications>> {
    let rows = sqlx::query!(
        "select order_id, contact, version from order_notifications
         where order_id = any($1) order by order_id for update",
        orders,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut loaded = HashMap::with_capacity(rows.len());
    for row in rows {
        let mut correspondence = OrderNotifications::placeholder(OrderId(row.order_id));
        correspondence.version = row.version;
        correspondence.contact = row.contact.as_deref().map(parse::<Email>).transpose()?;
        loaded.insert(correspondence.order_id, correspondence);
    }
    let rows = sqlx::query!(
        "select id, order_id, kind, status, body, attempts, reason, sent_at from notifications
         where order_id = any($1)",
        orders,
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let Some(correspondence) = loaded.get_mut(&OrderId(row.order_id)) else {
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
        correspondence.notifications.insert(parse(&row.kind)?, notification);
    }
    Ok(loaded)
}

/// Saves order_notifications that [`load_for_update`] locked.
pub(crate) async fn save(conn: &mut PgConnection, changed: &[&OrderNotifications]) -> sqlx::Result<()> {
    let orders: Vec<Uuid> = changed.iter().map(|it| it.order_id.0).collect();
    let contacts: Vec<Option<String>> =
        changed.iter().map(|it| it.contact.clone().map(String::from)).collect();
    let versions: Vec<i64> = changed.iter().map(|it| it.version).collect();
    sqlx::query!(
        "update order_notifications as it set contact = new.contact, version = new.version
         from unnest($1::uuid[], $2::text[], $3::bigint[]) as new (order_id, contact, version)
         where it.order_id = new.order_id and it.version < new.version",
        &orders,
        &contacts as &[Option<String>],
        &versions,
    )
    .execute(&mut *conn)
    .await?;
    save_notifications(conn, changed).await
}

/// An upsert, which cannot overwrite what another replica wrote: the order's correspondence is locked.
async fn save_notifications(conn: &mut PgConnection, changed: &[&OrderNotifications]) -> sqlx::Result<()> {
    let mut columns = Columns::default();
    for correspondence in changed {
        for (kind, notification) in &correspondence.notifications {
            columns.push(correspondence.order_id, *kind, notification);
        }
    }
    sqlx::query!(
        "insert into notifications (id, order_id, kind, status, body, attempts, reason, sent_at)
         select * from unnest(
             $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::timestamptz[])
         on conflict (id) do update set
             status = excluded.status, attempts = excluded.attempts,
             reason = excluded.reason, sent_at = excluded.sent_at
         where notifications.status <> excluded.status",
        &columns.ids,
        &columns.orders,
        &columns.kinds as &[&str],
        &columns.statuses as &[&str],
        &columns.bodies as &[&str],
        &columns.attempts,
        &columns.reasons as &[Option<&str>],
        &columns.sent as &[Option<DateTime<Utc>>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    orders: Vec<Uuid>,
    kinds: Vec<&'a str>,
    statuses: Vec<&'a str>,
    bodies: Vec<&'a str>,
    attempts: Vec<i32>,
    reasons: Vec<Option<&'a str>>,
    sent: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, order_id: OrderId, kind: NotificationKind, notification: &'a Notification) {
        self.ids.push(notification.id);
        self.orders.push(order_id.0);
        self.kinds.push(kind.into_str());
        self.statuses.push(notification.status.as_str());
        self.bodies.push(&notification.body);
        self.attempts.push(notification.attempts);
        self.reasons.push(notification.reason.as_deref());
        self.sent.push(notification.sent_at);
    }
}

/// What the mail server is to be given.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The order.
    pub(crate) order_id: OrderId,
    /// What it is about.
    pub(crate) kind: NotificationKind,
    /// Where to.
    pub(crate) recipient: String,
    /// The text.
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
#[derive(Debug)]
pub(crate) struct Listed {
    /// Its id.
    pub(crate) id: Uuid,
    /// The order.
    pub(crate) order_id: Uuid,
    /// What it is about.
    pub(crate) kind: String,
    /// Where to, once known.
    pub(crate) recipient: Option<String>,
    /// Where it is.
    pub(crate) status: String,
    /// How often the mail server was called.
    pub(crate) attempts: i32,
    /// Why the mail server refused, the last time that it did.
    pub(crate) reason: Option<String>,
    /// When the mail server took it.
    pub(crate) sent_at: Option<DateTime<Utc>>,
}

/// Notifications, the newest first, of one order or of all, from before the one that the last page ended with.
pub(crate) async fn list(
    pool: &PgPool,
    order: Option<OrderId>,
    before: Option<Uuid>,
    limit: Limit,
) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        "select id, order_id, kind, contact as recipient, status, attempts, reason, sent_at
         from notifications join order_notifications using (order_id)
         where ($1::uuid is null or order_id = $1) and ($2::uuid is null or id < $2)
         order by id desc limit $3",
        order.map(|id| id.0),
        before,
        limit.rows(),
    )
    .fetch_all(pool)
    .await
}

/// Reads what a constraint keeps right: a failure is a row of a newer build.
fn parse<T: std::str::FromStr<Err: ToString>>(text: &str) -> sqlx::Result<T> {
    text.parse().map_err(|error: T::Err| sqlx::Error::Decode(error.to_string().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Status;

    #[test]
    fn the_schema_knows_every_status_and_kind() {
        let schema = include_str!("../../../migrations/notification/0001_notifications.sql");
        for word in Status::ALL
            .iter()
            .map(|it| it.as_str())
            .chain(NotificationKind::KNOWN.iter().map(|it| it.into_str()))
        {
            assert!(schema.contains(&format!("'{word}'")), "{word}");
        }
    }
}
