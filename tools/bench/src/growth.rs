//! What grows with use and should not slow the system down: past orders, replicas and a backlog.

use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{HttpPorts, System};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use system::Service;
use tokio::time::Instant;

use super::Bench;
use super::calibrate::calibrate;
use super::counters::Sources;
use super::drive::Driver;
use super::limit::Limit;

const HISTORIES: [u64; 3] = [0, 100_000, 1_000_000];
const REPLICAS: [usize; 3] = [1, 2, 4];
/// Orders of a backlog: each is two waiting events, for inventory and for payment.
const BACKLOG: usize = 50_000;
const BACKLOG_RATE: f64 = 500.0;
/// Those that place no order, but without whom none gets on.
const STOPPED: [&str; 2] = ["inventory", "payment"];

/// Orders wait in a backlog for as long as it takes.
const PATIENCE: [(&str, &str); 3] =
    [("ORDER_DEADLINE", "1h"), ("ORDER_DEADLINE_MAX", "1h"), ("MAX_PENDING", "1000000")];

const READY_LIMIT: Duration = Duration::from_secs(60);

const PAST: &str = include_str!("past.sql");
/// The SQL stands beside the code of the service.
macro_rules! histories {
    (services { $($service:ident { name: $name:literal, $($_rest:tt)* })+ } outside $_outside:tt) => {
        &[$((Service::$service, include_str!(concat!("../../../services/", $name, "/history.sql"))),)+]
    };
}
/// The statements that write past orders into each service's database.
const HISTORY: &[(Service, &str)] = system::services!(histories);

/// What was held with so many past orders or replicas, and the limit of the machine in the same
/// minutes: it may be another machine by the next part.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Held {
    pub(super) of: u64,
    pub(super) orders_per_second: f64,
    /// L, by the calibrations before and after.
    pub(super) limit: f64,
    pub(super) ratio: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct DrainedBacklog {
    pub(super) events: u64,
    pub(super) orders_per_second: f64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Growth {
    pub(super) history: Vec<Held>,
    /// By replicas of each service, with no past orders.
    pub(super) replicas: Vec<Held>,
    pub(super) backlog: Option<DrainedBacklog>,
}

impl Growth {
    pub(super) fn print(&self, print: &dyn Fn(&str)) {
        for (what, all) in [("past orders", &self.history), ("replicas", &self.replicas)] {
            for Held { of, orders_per_second, limit, ratio } in all {
                print(&format!(
                    "{of:>9} {what:<12} X {orders_per_second:>5.0} orders/s, L {limit:>5.0} orders/s, X / L {ratio:.2}"
                ));
            }
        }
        if let Some(DrainedBacklog { events, orders_per_second }) = self.backlog {
            print(&format!(
                "{events:>9} events waiting {orders_per_second:>5.0} orders/s through the rest of the saga"
            ));
        }
    }
}

/// Measures all parts, each in a new system. The results before a failure are kept.
pub(super) async fn measure(growth: &mut Growth, bench: &Bench<'_>) -> Result<()> {
    for of in HISTORIES {
        (bench.print)(&format!("with {of} past orders"));
        let mut system = bench.start(&[]).await?;
        if of > 0 {
            write_history(&mut system, of).await.context("the past orders")?;
        }
        growth.history.push(held(bench, of, &system, &[]).await?);
        system.stop().await?;
    }
    for of in REPLICAS {
        (bench.print)(&format!("with {of} of each service"));
        let mut system = bench.start(&[]).await?;
        let others = (2..=of).map(|number| system.start_replicas(number)).collect::<Result<Vec<_>>>()?;
        system.services.wait_until_ready(READY_LIMIT).await?;
        growth.replicas.push(held(bench, of as u64, &system, &others).await?);
        system.stop().await?;
    }
    (bench.print)(&format!("with {} events waiting", 2 * BACKLOG));
    let mut system = bench.start(&PATIENCE).await?;
    growth.backlog = Some(drain_backlog(&mut system).await.context("the backlog")?);
    system.stop().await
}

/// The highest rate that is held for half as long as in the main part, between two calibrations.
async fn held(bench: &Bench<'_>, of: u64, system: &System, others: &[HttpPorts]) -> Result<Held> {
    let driver = Driver::open(system, others).await?;
    let sources = Sources::open(system, others).await?;
    let before = calibrate(system, &bench.args.dir, bench.calibration).await?;
    driver.seed_stock().await?;
    driver.drive(bench.args.from, bench.step).await?;
    let steps = bench.climb(&driver).await?;
    let (outcome, cost) = bench.hold(&driver, &sources, &steps, bench.part).await?;
    let after = calibrate(system, &bench.args.dir, bench.calibration).await?;
    let limit = Limit::of(&before.mean(&after), &cost).orders_per_second;
    Ok(Held { of, orders_per_second: outcome.rate, limit, ratio: outcome.rate / limit })
}

/// Writes orders that were completed in the past into every database, while the services are down.
async fn write_history(system: &mut System, orders: u64) -> Result<()> {
    Driver::open(system, &[]).await?.seed_stock().await?;
    for (service, _) in HISTORY {
        system.services.stop(service.as_str()).await?;
    }
    let now = runtime::clock::now().to_rfc3339();
    for (service, statements) in HISTORY {
        let url = format!("{}/{service}", system.postgres.superuser_url());
        let mut conn = PgConnection::connect(&url).await?;
        sqlx::query("select set_config('bench.orders', $1, false), set_config('bench.now', $2, false)")
            .bind(orders.to_string())
            .bind(&now)
            .execute(&mut conn)
            .await?;
        for statements in [PAST, statements, "vacuum analyze"] {
            sqlx::raw_sql(statements).execute(&mut conn).await.with_context(|| service.to_string())?;
        }
        conn.close().await?;
    }
    for (service, _) in HISTORY {
        system.services.resume(service.as_str())?;
    }
    system.services.wait_until_ready(READY_LIMIT).await
}

/// Lets events pile up, and measures how fast they are consumed.
async fn drain_backlog(system: &mut System) -> Result<DrainedBacklog> {
    let driver = Driver::open(system, &[]).await?;
    driver.seed_stock().await?;
    for service in STOPPED {
        system.services.stop(service).await?;
    }
    let placed = driver.place(BACKLOG_RATE, BACKLOG).await?;
    let begun = Instant::now();
    for service in STOPPED {
        system.services.resume(service)?;
    }
    let orders = placed.accepted.len();
    driver.finish(BACKLOG_RATE, placed).await?;
    let orders_per_second = orders as f64 / begun.elapsed().as_secs_f64();
    Ok(DrainedBacklog { events: 2 * orders as u64, orders_per_second })
}
