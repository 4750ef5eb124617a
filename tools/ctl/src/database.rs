//! Makes the roles, databases and rights that are missing in a Postgres.

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use system::postgres::{Step, steps};

/// Makes what is missing, as superuser, and gives the databases that were created. `url` names no database. What is
/// there already, passwords included, stays as it is.
pub async fn apply(url: &str) -> Result<Vec<&'static str>> {
    let url = url.trim_end_matches('/');
    let mut created = Vec::new();
    for step in steps() {
        match step {
            Step::Run { database, sql } => {
                let mut conn = connect(url, database).await?;
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut conn)
                    .await
                    .with_context(|| format!("cannot set roles and rights in the database {database}"))?;
                conn.close().await?;
            }
            Step::Create { name } => {
                let mut conn = connect(url, "postgres").await?;
                if !exists(&mut conn, name).await? {
                    let create = AssertSqlSafe(format!(r#"create database "{name}" owner "{name}""#));
                    sqlx::raw_sql(create)
                        .execute(&mut conn)
                        .await
                        .with_context(|| format!("cannot create the database {name}"))?;
                    created.push(name);
                }
                conn.close().await?;
            }
        }
    }
    Ok(created)
}

async fn connect(url: &str, database: &str) -> Result<PgConnection> {
    PgConnection::connect(&format!("{url}/{database}"))
        .await
        .with_context(|| format!("cannot open the database {database}"))
}

async fn exists(conn: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(conn)
        .await
}
