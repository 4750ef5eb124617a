//! The two services on the test servers, each with a database of its own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::eventually;
use testkit::running::{Env, Running};
use testkit::world::{Servers, World};

async fn env_of(service: &str, world: &World) -> Env {
    let (postgres, database) = (Servers::shared().postgres, format!("{}_{service}", world.name));
    let mut admin = PgConnection::connect(&postgres).await.expect("Postgres answers");
    let create = AssertSqlSafe(format!(r#"create database "{database}""#));
    sqlx::query(create).execute(&mut admin).await.expect("a database");
    let variables =
        [("DATABASE_URL", format!("{postgres}/{database}")), ("AMQP_URL", world.amqp_url("admin"))];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_greeting_is_counted_by_the_other_service() {
    let world = World::bare(Servers::shared()).await;
    let greeter = Running::start(&env_of("greeter", &world).await, hello::greeter::run).await;
    let listener = Running::start(&env_of("listener", &world).await, hello::listener::run).await;
    greeter.ready().await;
    for name in ["ada", "grace", "ada"] {
        let response =
            greeter.request("POST", &format!("/greetings/{name}")).send().await.expect("a response");
        assert_eq!(response.status(), 202);
    }
    eventually("every greeting to be counted", async || {
        let (_, counts) = listener.get("/greetings").await;
        if counts == json!({"ada": 2, "grace": 1}) { Ok(()) } else { Err(counts) }
    })
    .await;
}
