//! Counts the greetings of everybody: `GET /greetings`.

use std::collections::BTreeMap;

use axum::{Json, Router, extract::State, routing::get};
use contracts::{InvalidTransition, ServiceName};
use http_api::Problem;
use messaging::{Delivery, Outcome, Reaction, ReactionError, ServiceHost};
use runtime::{Listeners, database::Wait, tasks::Tasks};
use sqlx::{PgConnection, PgPool, migrate::Migrator};
use tokio_util::sync::CancellationToken;

use crate::{Config, Event, EventType, declare_topology};

static MIGRATIONS: Migrator = sqlx::migrate!();

pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let topology = declare_topology(&config.host.broker).await?;
    let (name, keys) = (ServiceName::new("listener"), vec![EventType::Greeted.name()]);
    let host = ServiceHost::new(name, (keys, topology), &config.host, shutdown.clone())?;
    let router = Router::new().route("/greetings", get(counts)).with_state(host.pool.clone());
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn(
        "http",
        http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown),
    );
    if host.open(&[&MIGRATIONS]).await? == Wait::Usable {
        host.start(&mut tasks, Counter);
    }
    tasks.join().await
}

async fn counts(State(pool): State<PgPool>) -> Result<Json<BTreeMap<String, i64>>, Problem> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select name, count from greetings").fetch_all(&pool).await?;
    Ok(Json(rows.into_iter().collect()))
}

struct Counter;

impl Reaction for Counter {
    type Event = Event;
    type Input = String;
    type State = ();
    type Changes = BTreeMap<String, i64>;

    fn input(delivery: &Delivery<Event>) -> Option<String> {
        let Event::Greeted(greeted) = &delivery.envelope.event;
        Some(greeted.name.clone())
    }

    async fn open(&self, _: &mut PgConnection, _: &[String]) -> Result<(), ReactionError> {
        Ok(())
    }

    fn fold((): (), names: &[String]) -> Result<Outcome<Self::Changes, Event>, InvalidTransition> {
        let mut changed = BTreeMap::new();
        names.iter().for_each(|name| *changed.entry(name.clone()).or_default() += 1);
        Ok(Outcome { changed, events: vec![], jobs: vec![] })
    }

    /// In the order of the names, so that two replicas cannot deadlock.
    async fn save(&self, conn: &mut PgConnection, changed: &Self::Changes) -> Result<(), ReactionError> {
        let counted = "insert into greetings select * from unnest($1::text[], $2::bigint[])
             on conflict (name) do update set count = greetings.count + excluded.count";
        let (names, counts): (Vec<&String>, Vec<&i64>) = changed.iter().unzip();
        sqlx::query(counted).bind(names).bind(counts).execute(conn).await?;
        Ok(())
    }
}
