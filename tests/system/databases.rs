//! `sagactl database apply` in a cluster that is in use.

use runtime::config::DatabaseConfig;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqlSafeStr};
use system::Service;
use system::postgres::script;
use testkit::world::Servers;
use testkit::{World, eventually, private};

async fn execute(url: &str, sql: &str) -> sqlx::Result<()> {
    let mut conn = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await
}

#[tokio::test]
async fn missing_role_and_database_are_made_in_a_used_cluster() {
    let (postgres, _folder, _) = private::postgres().await;
    let superuser = postgres.superuser_url();
    let admin = format!("{superuser}/postgres");
    let analytics = postgres.service_url(Service::Analytics.as_str());
    let order = postgres.service_url(Service::Order.as_str());
    execute(&order, "create table kept (); alter role current_user password 'changed'").await.expect("made");
    let order = order.replace(":order@", ":changed@");
    for sql in ["drop database analytics", "drop owned by analytics", "alter role analytics rename to gone"] {
        execute(&admin, sql).await.expect("taken away");
    }
    assert!(execute(&analytics, "select 1").await.is_err());

    assert_eq!(ctl::database::apply(&superuser).await.expect("applied"), ["analytics"]);
    execute(&analytics, "create schema own; create table own.facts ()").await.expect("the owner may");
    let auditor = analytics.replace("analytics:analytics", "auditor:auditor");
    execute(&auditor, "select * from own.facts").await.expect("the auditor reads");
    assert!(execute(&auditor, "create table mine ()").await.is_err(), "the auditor writes nothing");
    let other = analytics.replace("analytics:analytics", "payment:payment");
    assert!(execute(&other, "select 1").await.is_err(), "no role opens the database of another");
    execute(&order, "select * from kept").await.expect("what was there is as it was");

    assert!(ctl::database::apply(&superuser).await.expect("applied again").is_empty());
}

#[tokio::test]
async fn rights_are_made_in_a_database_that_was_there_first() {
    let (postgres, _folder, _) = private::postgres().await;
    let superuser = postgres.superuser_url();
    let analytics = postgres.service_url(Service::Analytics.as_str());
    execute(&analytics, "create table early ()").await.expect("made");
    let of_the_database = format!("{superuser}/analytics");
    execute(&of_the_database, "revoke select on early from auditor").await.expect("revoked");
    execute(&of_the_database, "revoke connect on database analytics from auditor").await.expect("revoked");
    let auditor = analytics.replace("analytics:analytics", "auditor:auditor");
    assert!(execute(&auditor, "select * from early").await.is_err());
    ctl::database::apply(&superuser).await.expect("applied");
    execute(&auditor, "select * from early").await.expect("the auditor reads");
}

#[test]
fn script_makes_each_role_and_database() {
    let script = script();
    for service in Service::with_database() {
        assert!(script.contains(&format!("create role \"{service}\" login")), "{service}");
        assert!(script.contains(&format!("create database \"{service}\" owner \"{service}\"")), "{service}");
    }
}

fn migrator(sql: &'static str) -> Migrator {
    let migration = Migration::new(1, "of a test".into(), MigrationType::Simple, sql.into_sql_str(), false);
    Migrator { migrations: vec![migration].into(), ..Migrator::DEFAULT }
}

#[tokio::test]
async fn migration_that_takes_longer_than_any_statement_completes() {
    let world = World::bare(Servers::shared()).await;
    let config = DatabaseConfig { url: world.database_url("order").await.into(), max_connections: 1 };
    let pool = runtime::database::pool(&config, "order").expect("a pool");
    let limit: String = sqlx::query_scalar("show statement_timeout").fetch_one(&pool).await.expect("a limit");
    assert_eq!(limit, "10s");
    let long = migrator("create table made as select 1 as one from (select pg_sleep(11)) as slept");
    runtime::database::migrate(&pool, &long).await.expect("migrated");
    sqlx::query("select from made").execute(&pool).await.expect("it is there");
}

#[tokio::test]
async fn migration_that_fails_leaves_no_lock() {
    let world = World::bare(Servers::shared()).await;
    let config = DatabaseConfig { url: world.database_url("order").await.into(), max_connections: 1 };
    let pool = runtime::database::pool(&config, "order").expect("a pool");
    for _ in 0..3 {
        let error = runtime::database::migrate(&pool, &migrator("select 1 / 0")).await.expect_err("it fails");
        assert!(format!("{error:#}").contains("division by zero"), "{error:#}");
    }
    let locks = "select count(*) from pg_locks where locktype = 'advisory'
        and database = (select oid from pg_database where datname = current_database())";
    eventually("no lock", async || {
        let held: i64 = sqlx::query_scalar(locks).fetch_one(&pool).await.expect("locks");
        if held == 0 { Ok(()) } else { Err(held) }
    })
    .await;
}
