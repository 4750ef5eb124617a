//! What each part of the machine can do alone, while the system is idle.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::broker_limit;
use anyhow::{Context, Result, bail, ensure};
use axum::{Router, http::StatusCode, routing::post};
use contracts::Envelope;
use devstack::System;
use inventory::reactions::Reactions;
use lettre::Message;
use messaging::UnitOfWork;
use notification::mail_server::MailServer;
use reqwest::Client;
use runtime::config::DatabaseConfig;
use secrecy::SecretString;
use serde::Serialize;
use sqlx::PgPool;
use system::Service;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::drive::CATALOGUE;
use loadgen::percentile;
use system::VHOST;

/// Concurrent HTTP clients; and concurrent committers, of which the better number counts.
const HTTP_CLIENTS: usize = 32;
const COMMITTERS: [usize; 2] = [4, 12];
const CONNECTIONS: u32 = 16;
const MAIL_CLIENTS: usize = 8;
const LARGE_BATCH: usize = 20;
/// How many times something is done alone, for a median.
const ALONE: usize = 200;

/// What was measured; rates are of the whole machine, medians of one at a time.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Calibration {
    pub(super) commits_of_1_per_second: f64,
    pub(super) commits_of_20_per_second: f64,
    pub(super) commit_alone_ms: f64,
    /// Messages a second through a quorum queue.
    pub(super) queue_per_second: f64,
    /// A message through a quorum queue, alone, in ms.
    pub(super) hop_alone_ms: f64,
    /// Requests a second to a server that does nothing.
    pub(super) http_per_second: f64,
    pub(super) http_alone_ms: f64,
    pub(super) smtp_per_second: f64,
    /// `fdatasync` after 8 KiB, in ms.
    pub(super) fdatasync_ms: f64,
}

impl Calibration {
    /// The largest relative difference between two calibrations.
    pub(super) fn drift(&self, other: &Self) -> f64 {
        let mut drift = 0.0;
        self.combine(other, |one, two| {
            drift = f64::max(drift, one.max(two) / one.min(two) - 1.0);
            drift
        });
        drift
    }

    pub(super) fn mean(&self, other: &Self) -> Self {
        self.combine(other, f64::midpoint)
    }

    fn combine(&self, other: &Self, mut by: impl FnMut(f64, f64) -> f64) -> Self {
        let mut by = |of: fn(&Self) -> f64| by(of(self), of(other));
        Self {
            commits_of_1_per_second: by(|it| it.commits_of_1_per_second),
            commits_of_20_per_second: by(|it| it.commits_of_20_per_second),
            commit_alone_ms: by(|it| it.commit_alone_ms),
            queue_per_second: by(|it| it.queue_per_second),
            hop_alone_ms: by(|it| it.hop_alone_ms),
            http_per_second: by(|it| it.http_per_second),
            http_alone_ms: by(|it| it.http_alone_ms),
            smtp_per_second: by(|it| it.smtp_per_second),
            fdatasync_ms: by(|it| it.fdatasync_ms),
        }
    }

    /// What a commit costs, in ms: `a + b * n` for a batch of n, the line through the costs of both batch sizes.
    pub(super) fn commit_ms(&self) -> (f64, f64) {
        let (small, large) = (1000.0 / self.commits_of_1_per_second, 1000.0 / self.commits_of_20_per_second);
        // Noise never makes a negative cost.
        let per_item = ((large - small) / (LARGE_BATCH as f64 - 1.0)).max(0.0);
        ((small - per_item).max(0.0), per_item)
    }

    /// The shortest time from placed to confirmed: four commits, two hops and one call, in ms.
    pub(super) fn shortest_confirmation_ms(&self) -> f64 {
        4.0 * self.commit_alone_ms + 2.0 * self.hop_alone_ms + self.http_alone_ms
    }
}

/// Measures every part for `duration`, one after the other.
pub(super) async fn calibrate(system: &System, dir: &Path, duration: Duration) -> Result<Calibration> {
    let commits = Commits::open(system, duration).await.context("the database for calibration")?;
    let (mut of_1, mut of_20) = (0.0_f64, 0.0_f64);
    for at_once in COMMITTERS {
        of_1 = of_1.max(commits.per_second(at_once, 1).await?);
        of_20 = of_20.max(commits.per_second(at_once, LARGE_BATCH).await?);
    }
    let commit_alone_ms = commits.alone_ms().await?;
    commits.close().await?;
    let body = placed(0, 0)?.to_json()?;
    let amqp_url = format!("{}/{VHOST}", system.rabbitmq.admin_url());
    let queue = broker_limit::queue(&amqp_url, body.as_bytes(), duration).await.context("a quorum queue")?;
    let (http_per_second, http_alone_ms) = http(duration).await.context("an HTTP server")?;
    Ok(Calibration {
        commits_of_1_per_second: of_1,
        commits_of_20_per_second: of_20,
        commit_alone_ms,
        queue_per_second: queue.per_second,
        hop_alone_ms: queue.hop.as_secs_f64() * 1000.0,
        http_per_second,
        http_alone_ms,
        smtp_per_second: mails(system, duration).await.context("the mail sink")?,
        fdatasync_ms: fdatasync_ms(dir).await.context("fdatasync")?,
    })
}

/// An order for a SKU of one committer, so that none waits for another.
fn placed(committer: usize, number: usize) -> Result<Envelope> {
    let sku = format!("CALIBRATION-{committer}-{}", number % CATALOGUE.skus);
    Ok(broker_limit::placed(&sku.parse()?))
}

/// A database with the schema of inventory, and nothing but stock in it.
struct Commits {
    admin: PgPool,
    pool: PgPool,
    unit_of_work: UnitOfWork,
    duration: Duration,
}

impl Commits {
    async fn open(system: &System, duration: Duration) -> Result<Self> {
        let admin = PgPool::connect(&format!("{}/postgres", system.postgres.superuser_url())).await?;
        sqlx::raw_sql("drop database if exists calibration with (force)").execute(&admin).await?;
        sqlx::raw_sql("create database calibration owner inventory").execute(&admin).await?;
        let url = system.postgres.user_url(Service::Inventory.as_str(), "calibration");
        let config = DatabaseConfig { url: SecretString::from(url), max_connections: CONNECTIONS };
        let pool = runtime::database::pool(&config, "calibration")?;
        runtime::database::migrate(&pool, &messaging::MIGRATIONS).await?;
        runtime::database::migrate(&pool, &inventory::store::MIGRATIONS).await?;
        let products = "insert into products (sku, name, price_minor, currency, version)
            select sku, sku, 1000, 'EUR', 1 from generate_series(0, $1) as committer,
                generate_series(0, $2) as number, format('CALIBRATION-%s-%s', committer, number) as sku";
        let committers = i32::try_from(COMMITTERS.into_iter().fold(0, usize::max))?;
        let skus = i32::try_from(CATALOGUE.skus)?;
        sqlx::query(products).bind(committers).bind(skus).execute(&pool).await?;
        sqlx::raw_sql("insert into stock (sku, on_hand) select sku, 1000000 from products")
            .execute(&pool)
            .await?;
        Ok(Self { admin, pool, unit_of_work: UnitOfWork::new(Service::Inventory.into()), duration })
    }

    /// Concurrent committers, each with one batch after the other.
    async fn per_second(&self, at_once: usize, batch: usize) -> Result<f64> {
        let (pool, outbox) = (self.pool.clone(), self.unit_of_work.clone());
        per_second(at_once, self.duration, move |committer| {
            let (pool, outbox) = (pool.clone(), outbox.clone());
            async move {
                let events = (0..batch).map(|number| placed(committer, number)).collect::<Result<_>>()?;
                broker_limit::commit(&pool, &outbox, &Reactions, events).await
            }
        })
        .await
    }

    async fn alone_ms(&self) -> Result<f64> {
        median_ms(async |number| {
            broker_limit::commit(&self.pool, &self.unit_of_work, &Reactions, vec![placed(0, number)?]).await
        })
        .await
    }

    async fn close(self) -> Result<()> {
        self.pool.close().await;
        sqlx::raw_sql("drop database calibration with (force)").execute(&self.admin).await?;
        Ok(())
    }
}

/// How often a second `at_once` clients do it, each repeatedly; a client gets its number.
async fn per_second<F>(
    at_once: usize,
    duration: Duration,
    once: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..at_once {
        let once = once.clone();
        clients.spawn(async move {
            let mut times = 0_u32;
            while begun.elapsed() < duration {
                once(number).await?;
                times += 1;
            }
            anyhow::Ok(times)
        });
    }
    let mut times = 0;
    while let Some(done) = clients.join_next().await {
        times += done??;
    }
    Ok(f64::from(times) / begun.elapsed().as_secs_f64())
}

async fn median_ms(mut once: impl AsyncFnMut(usize) -> Result<()>) -> Result<f64> {
    let mut took = Vec::with_capacity(ALONE);
    for number in 0..ALONE {
        let begun = Instant::now();
        once(number).await?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(percentile(&took, 50).unwrap_or(f64::NAN))
}

/// Requests a second, and the median of one alone, of a server that takes an order and does nothing.
async fn http(duration: Duration) -> Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let server =
        axum::serve(listener, Router::new().route("/", post(|_: String| async { StatusCode::ACCEPTED })));
    let client = Client::new();
    let measured = async {
        let alone = median_ms(async |number| ask(&client, &url, number).await).await?;
        let (client, url) = (client.clone(), url.clone());
        let many = per_second(HTTP_CLIENTS, duration, move |_| {
            let (client, url) = (client.clone(), url.clone());
            async move { ask(&client, &url, 0).await }
        });
        Ok((many.await?, alone))
    };
    tokio::select! {
        ended = server.into_future() => bail!("the server ended: {ended:?}"),
        measured = measured => measured,
    }
}

async fn ask(client: &Client, url: &str, number: usize) -> Result<()> {
    let lines = [(CATALOGUE.sku(number), 1)];
    let order = loadgen::order_body("bench", "bench@example.com", &lines, "pm_card_visa");
    let answer = client.post(url).json(&order).send().await?;
    ensure!(answer.status() == StatusCode::ACCEPTED, "{}", answer.status());
    answer.bytes().await?;
    Ok(())
}

async fn mails(system: &System, duration: Duration) -> Result<f64> {
    let address = system.smtp.address();
    let server = Arc::new(MailServer::new(address.ip().to_string(), address.port()));
    let mail = Message::builder()
        .from("shop@example.com".parse()?)
        .to("bench@example.com".parse()?)
        .subject("Calibration")
        .body("About as long as the mail that confirms an order, which has several lines.\n".repeat(3))?;
    let mail = Arc::new(mail);
    per_second(MAIL_CLIENTS, duration, move |_| {
        let (server, mail) = (server.clone(), mail.clone());
        async move { Ok(server.send(&mail).await?) }
    })
    .await
}

async fn fdatasync_ms(dir: &Path) -> Result<f64> {
    let path = dir.join("fdatasync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let median = median_ms(async |_| {
        file.write_all(&[0; 8192])?;
        Ok(file.sync_data()?)
    })
    .await?;
    std::fs::remove_file(path)?;
    Ok(median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of_1: f64, of_20: f64, (fixed, per_item): (f64, f64)) {
        let alone = Calibration {
            commits_of_1_per_second: of_1,
            commits_of_20_per_second: of_20,
            ..Calibration::default()
        };
        let found = alone.commit_ms();
        assert!((found.0 - fixed).abs() < 1e-9 && (found.1 - per_item).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn the_line_goes_through_both_batch_sizes() {
        // 0.5 ms with one, 1.45 ms with twenty.
        check(2_000.0, 1_000.0 / 1.45, (0.45, 0.05));
    }

    #[test]
    fn noise_never_makes_a_negative_cost() {
        check(100.0, 200.0, (10.0, 0.0));
    }

    #[test]
    fn drift_is_the_largest_difference() {
        let one = Calibration { commits_of_1_per_second: 100.0, fdatasync_ms: 2.0, ..Calibration::default() };
        let two = Calibration { commits_of_1_per_second: 110.0, fdatasync_ms: 1.0, ..Calibration::default() };
        assert_eq!((one.drift(&two), two.mean(&one).fdatasync_ms), (1.0, 1.5));
    }
}
