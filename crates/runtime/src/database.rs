//! The service's Postgres: a pool, and waiting while the server is unavailable.

use std::{io, str::FromStr, time::Duration};

use anyhow::{Context, anyhow};
use secrecy::ExposeSecret;
use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Transaction,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{config::DatabaseConfig, health::HealthItem, retry::backoff};

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(2);
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// A connection that was used this lately is not asked first whether it still lives.
const FRESH: Duration = Duration::from_secs(1);

/// How long an [`answer`] is waited for, as a rule: longer than a statement may take, and a connection for it.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// What holds for every session. A handler's transaction lives far shorter than its limits; they catch the stuck one
/// before it holds up the others. Every statement goes by an index; a table that is young has no statistics yet,
/// and a plan made for it then would read the whole of it, long after it has grown. Where there is no index, that
/// makes a plan look costly enough to be compiled, which takes longer than any statement here: hence no JIT.
const SESSION: [(&str, &str); 5] = [
    ("statement_timeout", "10s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];

/// What is different for a session that migrates. A statement takes as long as it takes. One that waits for a lock holds up
/// all that come after it: it gives up soon, and is repeated.
const MIGRATION_SESSION: [(&str, &str); 6] = [
    ("statement_timeout", "0"),
    ("lock_timeout", "3s"),
    ("enable_seqscan", "on"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// How [`wait_until_usable`] ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Wait {
    Usable,
    /// The service was told to stop first.
    Cancelled,
}

/// A pool that connects when it is first used. `service` is the sessions' `application_name`.
pub fn pool(config: &DatabaseConfig, service: &str) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(config.url.expose_secret())
        .context("DATABASE_URL")?
        .application_name(service)
        .options(SESSION);
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options))
}

/// Begins a transaction; the way to do so, in place of the pool's own.
///
/// Where a request is dropped while the pool's own `begin` waits for its answer, the session is left in a transaction
/// that nobody knows of, and the next user of the connection works in it (sqlx 0.9.0, its issue 4393). Here the answer
/// is always waited for, and a transaction that nobody wants any more is rolled back.
pub async fn begin(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    begin_by(pool, "begin").await
}

/// Begins a transaction, as [`begin`] does, that reads one moment of the database and writes nothing.
pub async fn snapshot(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    begin_by(pool, "begin isolation level repeatable read, read only").await
}

async fn begin_by(pool: &PgPool, statement: &'static str) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    #[expect(clippy::disallowed_methods, reason = "it ends by itself, as soon as the database answers")]
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    begun.await.unwrap_or_else(|error| Err(sqlx::Error::Io(io::Error::other(error))))
}

/// The database's answer, or an error when there is none within that time. A network that fell silent gives none, and
/// TCP says so only after a quarter of an hour.
pub async fn answer<T>(within: Duration, query: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(within, query).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", within.as_secs());
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason)))
    })
}

/// The rows that one statement of [`delete_in_slices`] deletes, to keep locks and transactions short.
pub const SLICE: i64 = 10_000;

/// Deletes slice after slice, until there was nothing to delete, and returns how many rows there were.
pub async fn delete_in_slices<F>(slice: impl Fn() -> F) -> sqlx::Result<u64>
where
    F: Future<Output = sqlx::Result<PgQueryResult>>,
{
    let mut deleted = 0;
    loop {
        match slice().await?.rows_affected() {
            0 => return Ok(deleted),
            rows => deleted += rows,
        }
    }
}

/// Waits, with jitter, while the server cannot be reached, is starting, or is full. `item` tells why it waits; it is not up before
/// its tables are there. Fails with
/// one sentence when waiting cannot help: a wrong password or role, or a database that does not exist.
pub async fn wait_until_usable(
    pool: &PgPool,
    item: &HealthItem,
    shutdown: &CancellationToken,
) -> anyhow::Result<Wait> {
    let mut attempt = 0;
    loop {
        match probe(&pool.connect_options()).await {
            Ok(()) => return Ok(Wait::Usable),
            Err(error) => match refusal(&error) {
                Some(reason) => anyhow::bail!("the database refuses this service: {reason}"),
                None => item.down(reason(&error)),
            },
        }
        let pause = backoff(attempt, RETRY_BASE, RETRY_CAP);
        attempt += 1;
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(Wait::Cancelled);
        }
    }
}

/// Keeps `item` true to the database until the shutdown: asks it something every 2 s.
pub async fn watch(pool: PgPool, item: HealthItem, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(WATCH_INTERVAL)).await.is_some() {
        let seen = match sqlx::raw_sql("select 1").execute(&pool).await {
            // Either all connections are in use or the database is unavailable: the pool does not say which.
            Err(sqlx::Error::PoolTimedOut) => probe(&pool.connect_options()).await,
            seen => seen.map(drop),
        };
        match seen {
            Ok(()) => item.up(),
            Err(error) => item.down(refusal(&error).unwrap_or_else(|| reason(&error))),
        }
    }
}

/// Brings the database up to date, over a connection of its own: a migration may take longer than any statement, and the
/// lock that keeps out other replicas ends with the connection, whatever comes. Migrations of a newer build are left as
/// they are. Fails with one sentence when the database was migrated by a build that differs.
pub async fn migrate(pool: &PgPool, migrations: &Migrator) -> anyhow::Result<()> {
    let options = pool.connect_options().as_ref().clone().options(MIGRATION_SESSION);
    let connected = answer(ANSWER_TIMEOUT, PgConnection::connect_with(&options)).await;
    let mut conn = connected.context("migrating the database")?;
    let migrations = Migrator {
        migrations: migrations.migrations.clone(),
        // For a rolling deployment, and for the way back.
        ignore_missing: true,
        table_name: migrations.table_name.clone(),
        create_schemas: migrations.create_schemas.clone(),
        ..Migrator::DEFAULT
    };
    let migrated = migrations.run_direct(None, &mut conn, false).await;
    // An error makes no difference: the connection ends.
    let _ = answer(ANSWER_TIMEOUT, conn.close()).await;
    migrated.map_err(|error| match error {
        MigrateError::VersionMismatch(version) => {
            anyhow!("migration {version} of this build differs from the one that the database holds")
        }
        error => anyhow::Error::new(error).context("migrating the database"),
    })
}

/// Whether [`migrate`] may succeed later: the database became unavailable, or another replica took long.
pub fn is_transient(error: &anyhow::Error) -> bool {
    let database = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    database.is_some_and(|error| error_kind(error) != DbErrorKind::Rejected)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbErrorKind {
    /// The server cannot be reached, has no connection free, or is failing over: wait.
    Unavailable,
    /// A lock, a deadlock, a serialization failure or a timeout: repeat the transaction.
    Contention,
    /// The statement is wrong or breaks a constraint: repeating it fails again.
    Rejected,
}

/// Classifies an error by its SQLSTATE, or as unavailable where the connection itself failed.
pub fn error_kind(error: &sqlx::Error) -> DbErrorKind {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => DbErrorKind::Unavailable,
        sqlx::Error::Database(error) => kind_of_sqlstate(error.code().as_deref().unwrap_or_default()),
        _ => DbErrorKind::Rejected,
    }
}

fn kind_of_sqlstate(code: &str) -> DbErrorKind {
    match code {
        // deadlock_detected, serialization_failure, lock_not_available, query_canceled (a timeout)
        "40P01" | "40001" | "55P03" | "57014" => DbErrorKind::Contention,
        // read_only_sql_transaction (a failover is under way), idle_in_transaction_session_timeout
        "25006" | "25P03" => DbErrorKind::Unavailable,
        // connection exception, invalid authorization, insufficient resources, operator intervention, system error
        _ if ["08", "28", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            DbErrorKind::Unavailable
        }
        _ => DbErrorKind::Rejected,
    }
}

/// Connects outside the pool, whose own error would only say that it timed out.
async fn probe(options: &PgConnectOptions) -> sqlx::Result<()> {
    let connection = timeout(PROBE_TIMEOUT, PgConnection::connect_with(options)).await;
    connection.unwrap_or(Err(sqlx::Error::PoolTimedOut))?.close().await
}

/// Why waiting cannot help, if that is so.
fn refusal(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    let advice = match error.code()?.as_ref() {
        "28P01" | "28000" => "check user and password in DATABASE_URL",
        "3D000" => "create it, or check DATABASE_URL",
        _ => return None,
    };
    Some(format!("{} ({advice})", error.message()))
}

fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        sqlx::Error::Io(error) => format!("cannot be reached: {error}"),
        sqlx::Error::Database(error) => match error.code().unwrap_or_default().as_ref() {
            "57P03" => format!("starting: {}", error.message()),
            "53300" => format!("full: {}", error.message()),
            _ => error.message().to_owned(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_something_stood_in_the_way_of_is_not_the_end() {
        let transient =
            |error: MigrateError| is_transient(&anyhow::Error::new(error).context("migrating the database"));
        assert!(transient(MigrateError::Execute(sqlx::Error::PoolTimedOut)));
        assert!(transient(MigrateError::ExecuteMigration(sqlx::Error::PoolTimedOut, 1)));
        assert!(!transient(MigrateError::Execute(sqlx::Error::RowNotFound)));
        assert!(!transient(MigrateError::VersionMismatch(2)));
    }

    #[test]
    fn sqlstates_ask_for_what_helps() {
        for (kind, codes) in [
            (DbErrorKind::Contention, &["40P01", "40001", "55P03", "57014"][..]),
            (
                DbErrorKind::Unavailable,
                &["08006", "28P01", "53300", "57P01", "57P02", "57P03", "58030", "25006", "25P03"],
            ),
            (DbErrorKind::Rejected, &["23505", "23514", "22003", "42P01", "XX000", ""]),
        ] {
            for code in codes {
                assert_eq!(kind_of_sqlstate(code), kind, "{code}");
            }
        }
    }
}
