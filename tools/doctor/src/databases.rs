//! What is read in each service's database.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use messaging::relay::LEASE;
use sqlx::{Connection, PgConnection};
use system::Service;
use tokio::time::timeout;

use super::clock::Offset;
use super::{ANSWER_LIMIT, Asked, cause};

#[derive(Debug, Clone)]
pub(super) struct Database {
    pub(super) facts: Facts,
    /// Nothing when its tables are missing.
    pub(super) backlog: Option<Backlog>,
    pub(super) offset: Offset,
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Facts {
    /// As 150018 for 15.18.
    pub(super) version: i32,
    pub(super) owner: String,
    /// Roles of services, beside the owner, that may connect to it.
    pub(super) open_to: Vec<String>,
    /// Whether the newest table of the schema `messaging` exists.
    pub(super) migrated: bool,
}

#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Backlog {
    /// Age of the oldest event in the outbox, in seconds.
    pub(super) oldest_event: Option<f64>,
    pub(super) events: i64,
    /// Events that the broker did not take, and what it said of one.
    pub(super) held: i64,
    pub(super) held_reason: Option<String>,
    pub(super) relay_leads: bool,
    pub(super) dead_letters: i64,
    /// Messages that wait for a build that supports them, and since when the first does, in seconds.
    pub(super) unsupported: i64,
    pub(super) oldest_unsupported: Option<f64>,
}

const FACTS: &str = "
    select current_setting('server_version_num')::int as version, pg_get_userbyid(datdba)::text as owner,
        array(
            select rolname::text from pg_roles
            where rolname = any($1) and oid <> datdba and has_database_privilege(oid, datname, 'connect')
            order by rolname
        ) as open_to,
        to_regclass('messaging.leases') is not null as migrated
    from pg_database where datname = current_database()";

const BACKLOG: &str = "
    select extract(epoch from clock_timestamp() - min(created_at))::float8 as oldest_event, count(*) as events,
        count(held_until) as held, min(reason) as held_reason,
        exists (select from messaging.leases where name = $1 and until > now()) as relay_leads,
        (select count(*) from messaging.failed_messages where due_at is null) as dead_letters,
        (select count(*) from messaging.failed_messages where due_at is not null and class = 'not_for_this_build')
            as unsupported,
        (select extract(epoch from clock_timestamp() - min(received_at))::float8 from messaging.failed_messages
            where due_at is not null and class = 'not_for_this_build') as oldest_unsupported
    from messaging.outbox";

pub(super) async fn read(databases: &[(Service, String)]) -> BTreeMap<Service, Asked<Database>> {
    let all = databases.iter().map(|(service, url)| async move {
        let database = match timeout(ANSWER_LIMIT, ask(url)).await {
            Ok(answer) => answer.map_err(|error| cause(&error)),
            Err(_) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
        };
        (*service, database)
    });
    join_all(all).await.into_iter().collect()
}

async fn ask(url: &str) -> sqlx::Result<Database> {
    let mut conn = PgConnection::connect(url).await?;
    let asked = runtime::clock::now();
    let read: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut conn).await?;
    let offset = Offset::of(read, asked, runtime::clock::now());
    let services: Vec<_> = Service::with_database().map(Service::as_str).collect();
    let facts: Facts = sqlx::query_as(FACTS).bind(services).fetch_one(&mut conn).await?;
    let backlog = match facts.migrated {
        true => Some(sqlx::query_as(BACKLOG).bind(LEASE).fetch_one(&mut conn).await?),
        false => None,
    };
    conn.close().await?;
    Ok(Database { facts, backlog, offset })
}
