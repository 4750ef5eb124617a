//! What grows with use and must not cost: past orders, replicas, and a backlog.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use events::Service;
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use stack::System;
use tokio::time::Instant;

use super::drive::Driver;
use super::{Args, Times, search, start};

/// Past orders in the databases.
const HISTORIES: [u64; 3] = [0, 100_000, 1_000_000];
/// Of each service.
const REPLICAS: [usize; 3] = [1, 2, 4];
/// Orders of a backlog: each waits as two events, for inventory and for payment.
const BACKLOG: usize = 50_000;
const BACKLOG_RATE: f64 = 500.0;
/// Those that place no order, but without whom none gets on.
const AWAY: [&str; 2] = ["inventory", "payment"];

/// Orders wait in a backlog for as long as it takes.
const PATIENCE: [(&str, &str); 2] = [("ORDER_DEADLINE", "1h"), ("MAX_PENDING", "1000000")];

const PAST: &str = include_str!("history/past.sql");
/// What every service has of past orders.
const HISTORY: [(Service, &str); 5] = [
    (Service::Order, include_str!("history/order.sql")),
    (Service::Payment, include_str!("history/payment.sql")),
    (Service::Inventory, include_str!("history/inventory.sql")),
    (Service::Notification, include_str!("history/notification.sql")),
    (Service::Analytics, include_str!("history/analytics.sql")),
];

/// The highest rate that was held, with so many past orders or replicas.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Held {
    pub(super) of: u64,
    pub(super) orders_per_second: f64,
}

/// What was measured so far.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Growth {
    /// By past orders.
    pub(super) history: Vec<Held>,
    /// By replicas of each service, with no past orders.
    pub(super) replicas: Vec<Held>,
    /// Events that waited, and orders a second by which they were worked off.
    pub(super) backlog: Option<Held>,
}

impl Growth {
    /// The short table.
    pub(super) fn tell(&self, say: &impl Fn(&str)) {
        for (what, all) in [("past orders", &self.history), ("replicas", &self.replicas)] {
            let first = all.first().map_or(f64::NAN, |held| held.orders_per_second);
            for held in all {
                let ratio = held.orders_per_second / first;
                say(&format!(
                    "{:>9} {what:<12}{:>8.0} orders/s{ratio:>7.2}",
                    held.of, held.orders_per_second
                ));
            }
        }
        if let Some(Held { of, orders_per_second }) = self.backlog {
            say(&format!(
                "{of:>9} events waiting {orders_per_second:>7.0} orders/s through the rest of the saga"
            ));
        }
    }
}

/// Measures all of it, each in a system of its own. What was measured before a failure is kept.
pub(super) async fn measure(
    growth: &mut Growth,
    args: &Args,
    binaries: &Path,
    say: &impl Fn(&str),
) -> Result<()> {
    for of in HISTORIES {
        say(&format!("with {of} past orders"));
        let (mut system, _) = start(args, binaries, &[]).await?;
        if of > 0 {
            write_history(&mut system, of).await.context("the past orders")?;
        }
        let orders_per_second = held(&Driver::open(&system).await?, args, say).await?;
        growth.history.push(Held { of, orders_per_second });
        system.stop().await?;
    }
    for of in REPLICAS {
        say(&format!("with {of} of each service"));
        let (mut system, options) = start(args, binaries, &[]).await?;
        let mut driver = Driver::open(&system).await?;
        for number in 2..=of {
            driver.add(&system.start_replicas(&options, number).await?);
        }
        let orders_per_second = held(&driver, args, say).await?;
        growth.replicas.push(Held { of: of as u64, orders_per_second });
        system.stop().await?;
    }
    let (mut system, _) = start(args, binaries, &PATIENCE).await?;
    growth.backlog = Some(work_off(&mut system, say).await.context("the backlog")?);
    system.stop().await
}

/// The highest rate that is held for half as long as in the main part.
async fn held(driver: &Driver, args: &Args, say: &impl Fn(&str)) -> Result<f64> {
    let times = Times::of(args.hold);
    driver.fill_the_shelves().await?;
    driver.drive(args.from, times.step).await?;
    let steps = search::climb(driver, args.from..=args.up_to, times.step, say).await?;
    let (held, ()) = search::hold(&steps, &mut async |rate: f64| {
        let outcome = driver.drive(rate, times.part).await?;
        say(&search::line(&outcome));
        Ok((outcome, ()))
    })
    .await?;
    Ok(held.rate)
}

/// Writes orders that were completed in the past into every database, while the services are away.
async fn write_history(system: &mut System, orders: u64) -> Result<()> {
    Driver::open(system).await?.fill_the_shelves().await?;
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
    system.services.wait_until_ready(Duration::from_secs(60)).await
}

/// Lets events pile up, and measures how fast they are worked off.
async fn work_off(system: &mut System, say: &impl Fn(&str)) -> Result<Held> {
    let driver = Driver::open(system).await?;
    driver.fill_the_shelves().await?;
    for service in AWAY {
        system.services.stop(service).await?;
    }
    say(&format!("with {} events waiting", 2 * BACKLOG));
    let placed = driver.place(BACKLOG_RATE, BACKLOG).await?;
    let begun = Instant::now();
    for service in AWAY {
        system.services.resume(service)?;
    }
    let orders = placed.taken.len();
    driver.finish(placed).await?;
    Ok(Held { of: 2 * orders as u64, orders_per_second: orders as f64 / begun.elapsed().as_secs_f64() })
}
