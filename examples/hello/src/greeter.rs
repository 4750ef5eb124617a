//! Publishes an event for every greeting: `POST /greetings/{name}`.

use axum::extract::{Path, State};
use axum::{Router, http::StatusCode, routing::post};
use contracts::ServiceName;
use http_api::Problem;
use messaging::{CausationContext, Effects, OutgoingEvent, ServiceHost, UnitOfWork};
use runtime::{Listeners, clock, database, database::Wait, tasks::Tasks};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{Config, Event, Greeted, declare_topology};

pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let topology = declare_topology(&config.host.broker).await?;
    let name = ServiceName::new("greeter");
    let host = ServiceHost::new(name, (vec![], topology), &config.host, shutdown.clone())?;
    let state = (host.pool.clone(), host.unit_of_work.clone());
    let router = Router::new().route("/greetings/{name}", post(greet)).with_state(state);
    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn(
        "http",
        http_api::serve(listeners, router, host.health.clone(), config.process.http, shutdown),
    );
    if host.open(&[]).await? == Wait::Usable {
        host.start_publisher(&mut tasks);
    }
    tasks.join().await
}

/// The event is a row of the transaction; a relay publishes it.
async fn greet(
    State((pool, unit_of_work)): State<(PgPool, UnitOfWork)>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let event: Event = Greeted { greeting_id: clock::new_id(), name }.into();
    let outgoing = OutgoingEvent { event, aggregate_version: 1, origin: CausationContext::current() };
    let tx = database::begin(&pool).await?;
    unit_of_work.commit(tx, Effects::publish(vec![outgoing])).await?;
    Ok(StatusCode::ACCEPTED)
}
