//! Every role of Postgres, on every database.
#![expect(clippy::disallowed_methods, reason = "the connections are no pool's")]

use amqp::permissions::AUDITOR_USER;
use devstack::Postgres;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use system::Service;
use testkit::private;

/// Not a service's, and no business of anybody's here.
const OF_THE_SERVER: [&str; 2] = ["postgres", "template1"];
/// What Postgres says to who may not: `insufficient_privilege`.
const REFUSED: &str = "42501";
/// What it says to who only promised to write nothing: `read_only_sql_transaction`.
const READ_ONLY: &str = "25006";
/// How the auditor may take its promise back.
const UNLOCKS: [&str; 3] = [
    "set default_transaction_read_only = off",
    "set transaction read write",
    "set transaction_read_only = off",
];
/// What no role may do in any database, its own or not.
const TO_THE_SERVER: [&str; 6] = [
    "create role intruder",
    "create database intruder",
    "select * from pg_authid",
    "select pg_read_file('PG_VERSION')",
    "copy (select 1) to program 'true'",
    "alter system set fsync = off",
];

#[tokio::test]
async fn every_role_opens_its_own_database_only() {
    let (postgres, _folder, _) = private::postgres().await;
    for role in roles() {
        for database in services().chain(OF_THE_SERVER) {
            let opened = PgConnection::connect(&url(&postgres, role, database)).await;
            if role == database || role == AUDITOR_USER && !OF_THE_SERVER.contains(&database) {
                let mut conn = opened.unwrap_or_else(|error| panic!("{role} in {database}: {error}"));
                assert_eq!(answer(&mut conn, UNLOCKS[0]).await, "", "{role} in {database}");
                for sql in TO_THE_SERVER.into_iter().map(str::to_owned).chain(disguises(role)) {
                    assert_eq!(answer(&mut conn, &sql).await, REFUSED, "{role} in {database}: {sql}");
                }
            } else {
                assert_eq!(code(opened), REFUSED, "{role} opens {database}");
            }
        }
    }
}

#[tokio::test]
async fn service_creates_tables_in_its_own_database() {
    let (postgres, _folder, _) = private::postgres().await;
    for service in services() {
        let mut conn = PgConnection::connect(&postgres.service_url(service)).await.expect("its database");
        for sql in ["create table intruder ()", "insert into intruder default values", "drop table intruder"]
        {
            assert_eq!(answer(&mut conn, sql).await, "", "{service}: {sql}");
        }
    }
}

#[tokio::test]
async fn auditor_reads_every_table_and_can_write_none() {
    let (postgres, _folder, _) = private::postgres().await;
    for service in services() {
        let tables = migrated(&postgres, service).await;
        assert!(tables.len() > 3, "{service}: {tables:?}");
        let mut conn =
            PgConnection::connect(&url(&postgres, AUDITOR_USER, service)).await.expect("connected");
        for (table, _) in &tables {
            let sql = format!("select count(*) from {table}");
            assert_eq!(answer(&mut conn, &sql).await, "", "{service}: {sql}");
        }
        for sql in writes(&tables) {
            let mut transaction = conn.begin().await.expect("begins");
            let promised = answer(&mut transaction, &sql).await;
            transaction.rollback().await.expect("rolls back");
            assert!([REFUSED, READ_ONLY].contains(&promised.as_str()), "{service}: {sql}: {promised}");
            for unlock in UNLOCKS {
                let mut transaction = conn.begin().await.expect("begins");
                assert_eq!(answer(&mut transaction, unlock).await, "", "{unlock}");
                // The default counts from the next transaction on.
                if unlock.contains("default") {
                    transaction.commit().await.expect("commits");
                    transaction = conn.begin().await.expect("begins");
                }
                let seen = answer(&mut transaction, &sql).await;
                assert_eq!(seen, REFUSED, "{service}, after {unlock}: {sql}");
                transaction.rollback().await.expect("rolls back");
                assert_eq!(answer(&mut conn, "reset default_transaction_read_only").await, "");
            }
        }
    }
}

fn services() -> impl Iterator<Item = &'static str> {
    Service::ALL.iter().map(|service| service.as_str())
}

fn roles() -> impl Iterator<Item = &'static str> {
    services().chain([AUDITOR_USER])
}

/// To act as another role, or as the superuser.
fn disguises(role: &str) -> impl Iterator<Item = String> {
    let others = roles().chain(["postgres"]).filter(move |other| *other != role);
    others.map(|other| format!(r#"set role "{other}""#))
}

fn url(postgres: &Postgres, role: &str, database: &str) -> String {
    format!("postgres://{role}:{role}@127.0.0.1:{}/{database}", postgres.port)
}

/// Every table of a service's database with its first column, once the service has migrated it.
async fn migrated(postgres: &Postgres, service: &str) -> Vec<(String, String)> {
    let pool = PgPool::connect(&postgres.service_url(service)).await.expect("Postgres answers");
    let folder = format!("{}/../../migrations/{service}", env!("CARGO_MANIFEST_DIR"));
    let own = Migrator::new(std::path::PathBuf::from(folder)).await.expect("migrations");
    for shared in [&messaging::MIGRATIONS, &http_api::MIGRATIONS] {
        shared.run(&pool).await.expect("migrated");
    }
    own.run(&pool).await.expect("migrated");
    sqlx::query_as(
        "select format('%I.%I', n.nspname, c.relname), quote_ident(a.attname)
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attnum = 1
         where c.relkind in ('r', 'p') and n.nspname in ('public', 'messaging', 'http_api')",
    )
    .fetch_all(&pool)
    .await
    .expect("tables")
}

/// Everything that would change, lock or make something.
fn writes(tables: &[(String, String)]) -> Vec<String> {
    let mut writes: Vec<String> = [
        "create table intruder ()",
        "create temporary table intruder ()",
        "create schema intruder",
        "create table messaging.intruder ()",
        "create function intruder() returns int language sql as 'select 1'",
        "create sequence messaging.intruder",
        "select nextval('messaging.outbox_id_seq')",
        "select setval('messaging.outbox_id_seq', 1000)",
    ]
    .map(str::to_owned)
    .to_vec();
    for (table, column) in tables {
        writes.extend([
            format!("insert into {table} default values"),
            format!("update {table} set {column} = default"),
            format!("delete from {table}"),
            format!("truncate {table}"),
            format!("select * from {table} for update"),
            format!("lock table {table} in exclusive mode"),
            format!("alter table {table} add column intruder int"),
            format!("create index on {table} ({column})"),
            format!("drop table {table}"),
        ]);
    }
    writes
}

/// Postgres' code for what it refused, empty when it did it.
async fn answer(conn: &mut PgConnection, sql: &str) -> String {
    code(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await)
}

fn code<T>(answer: sqlx::Result<T>) -> String {
    let Err(error) = answer else { return String::new() };
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    code.unwrap_or_else(|| panic!("not Postgres' answer: {error}"))
}
