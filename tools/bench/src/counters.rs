//! What the running system counts itself: Postgres, RabbitMQ, the services and the kernel.

use std::collections::BTreeMap;
use std::iter;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::{HttpPorts, ServicePorts, System, local_address};
use procfs::process::{Process, Stat, all_processes};
use reqwest::Client;
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgPool, Row};
use system::Service;
use tokio::time::{Instant, sleep};

/// Between two readings of the broker's counters, which it updates every 5 s.
const LOOK_INTERVAL: Duration = Duration::from_secs(6);
const REST_LIMIT: Duration = Duration::from_secs(60);
/// The kernel's unit of CPU time, 1/100 s on every Linux.
const TICK_MS: f64 = 10.0;

/// All counters at one moment at rest; or, of one order, by how much they grew.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counters {
    /// Transactions that wrote.
    pub(super) commits: f64,
    /// Transactions of any kind in the services' databases, reading ones and polls included.
    pub(super) transactions: f64,
    pub(super) statements: f64,
    pub(super) wal_bytes: f64,
    pub(super) deliveries: f64,
    pub(super) placements: f64,
    /// Requests and calls over HTTP, all of them.
    pub(super) requests: f64,
    /// Calls to the card processor among them.
    pub(super) calls: f64,
    pub(super) mails: f64,
    /// CPU in ms, by process, with its children.
    pub(super) cpu_ms: BTreeMap<String, f64>,
}

impl Counters {
    /// The cost of each of `orders` since an earlier moment.
    pub(super) fn per_order(&self, before: &Self, orders: usize) -> Self {
        let each = |of: fn(&Self) -> f64| (of(self) - of(before)) / orders as f64;
        let cpu = |(name, now): (&String, &f64)| {
            let spent = now - before.cpu_ms.get(name).copied().unwrap_or(0.0);
            (name.clone(), spent / orders as f64)
        };
        Self {
            commits: each(|it| it.commits),
            transactions: each(|it| it.transactions),
            statements: each(|it| it.statements),
            wal_bytes: each(|it| it.wal_bytes),
            deliveries: each(|it| it.deliveries),
            placements: each(|it| it.placements),
            requests: each(|it| it.requests),
            calls: each(|it| it.calls),
            mails: each(|it| it.mails),
            cpu_ms: self.cpu_ms.iter().map(cpu).collect(),
        }
    }

    /// What commits are about: events that are applied, orders that are placed, calls and mails whose outcome is
    /// recorded. The commits in which the relay deletes what is published are counted, its deletes are not.
    pub(super) fn items(&self) -> f64 {
        self.deliveries + self.placements + self.calls + self.mails
    }

    pub(super) fn total_cpu_ms(&self) -> f64 {
        self.cpu_ms.values().sum()
    }
}

#[derive(Debug)]
pub(super) struct Sources<'a> {
    system: &'a System,
    /// Every service with the URLs where its replicas serve metrics.
    urls: BTreeMap<&'static str, Vec<String>>,
    http: Client,
    admin: PgPool,
}

impl<'a> Sources<'a> {
    /// For a system with these further replicas of each service, whose CPU is not counted.
    pub(super) async fn open(system: &'a System, others: &[HttpPorts]) -> Result<Self> {
        let admin = PgPool::connect(&format!("{}/postgres", system.postgres.superuser_url())).await?;
        sqlx::raw_sql("create extension if not exists pg_stat_statements").execute(&admin).await?;
        let urls = services().map(|name| (name, operations_urls(system, others, name))).collect();
        Ok(Self { system, urls, http: Client::new(), admin })
    }

    /// Reads everything once the broker's counters no longer change.
    pub(super) async fn read(&self) -> Result<Counters> {
        let deliveries = self.final_deliveries().await?;
        let row = sqlx::query(
            "select pg_snapshot_xmax(pg_current_snapshot())::text::float8,
                 (select sum(xact_commit)::float8 from pg_stat_database where datname = any($1)),
                 (select sum(calls)::float8 from pg_stat_statements join pg_roles on userid = pg_roles.oid
                  where rolname = any($1)),
                 (pg_current_wal_lsn() - '0/0')::float8",
        )
        .bind(Service::ALL.iter().map(|service| service.as_str()).collect::<Vec<_>>())
        .fetch_one(&self.admin)
        .await?;
        let (mut requests, mut placements) = (0.0, 0.0);
        for (name, urls) in &self.urls {
            let answered = self.requests(urls).await?;
            requests += answered;
            placements += if *name == Service::Order.as_str() { answered } else { 0.0 };
        }
        Ok(Counters {
            commits: row.try_get(0)?,
            transactions: row.try_get(1)?,
            statements: row.try_get(2)?,
            wal_bytes: row.try_get(3)?,
            deliveries,
            placements,
            requests,
            calls: requests - placements,
            mails: self.system.smtp.count() as f64,
            cpu_ms: cpu_ms(self.system)?,
        })
    }

    async fn final_deliveries(&self) -> Result<f64> {
        let end = Instant::now() + REST_LIMIT;
        let mut last = self.deliveries().await?;
        loop {
            sleep(LOOK_INTERVAL).await;
            let now = self.deliveries().await?;
            if now.to_bits() == last.to_bits() {
                return Ok(now);
            }
            if Instant::now() > end {
                bail!("the broker is still delivering: does anybody else use it?");
            }
            last = now;
        }
    }

    async fn deliveries(&self) -> Result<f64> {
        let url = format!("{}/api/overview", self.system.rabbitmq.admin_management_url());
        let overview: Value = self.http.get(url).send().await?.error_for_status()?.json().await?;
        Ok(overview["message_stats"]["deliver"].as_f64().unwrap_or(0.0))
    }

    async fn requests(&self, urls: &[String]) -> Result<f64> {
        let mut answered = 0.0;
        for url in urls {
            let metrics = self.http.get(format!("{url}/metrics")).send().await?;
            let text = metrics.error_for_status()?.text().await?;
            answered += sum_of(&text, "http_server_request_duration_seconds_count")?;
        }
        Ok(answered)
    }
}

/// Every service, and the card processor.
pub(super) fn services() -> impl Iterator<Item = &'static str> {
    system::programs().map(|program| program.name)
}

pub(super) fn urls(system: &System, others: &[HttpPorts], service: &str) -> Vec<String> {
    iter::once(system.url(service)).chain(urls_of(others, service, |ports| ports.http)).collect()
}

fn operations_urls(system: &System, others: &[HttpPorts], service: &str) -> Vec<String> {
    let others = urls_of(others, service, |ports| ports.operations);
    iter::once(system.operations_url(service)).chain(others).collect()
}

fn urls_of(
    others: &[HttpPorts],
    service: &str,
    port: fn(&ServicePorts) -> u16,
) -> impl Iterator<Item = String> {
    let ports = others.iter().filter_map(move |replicas| replicas.get(service));
    ports.map(move |ports| format!("http://{}", local_address(port(ports))))
}

/// The sum of a metric over its labels, in Prometheus's text format; 0 when it is missing.
fn sum_of(text: &str, metric: &str) -> Result<f64> {
    let samples = text.lines().filter(|line| {
        line.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    samples
        .map(|line| {
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse::<f64>().with_context(|| format!("{line:?} is not a sample"))
        })
        .sum()
}

fn processes(system: &System) -> Vec<(String, i32)> {
    let services = services().filter_map(|name| Some((name.to_owned(), system.services.pid(name)?)));
    let servers = [
        ("Postgres".to_owned(), system.postgres.process.pid()),
        ("RabbitMQ".to_owned(), system.rabbitmq.process.pid()),
    ];
    services.chain(servers).collect()
}

fn cpu_ms(system: &System) -> Result<BTreeMap<String, f64>> {
    // A process may end meanwhile.
    let all: Vec<_> = all_processes()?.filter_map(|process| process.ok()?.stat().ok()).collect();
    let spent = |(name, pid)| (name, tree_ticks(&all, pid) as f64 * TICK_MS);
    let mut spent: BTreeMap<_, _> = processes(system).into_iter().map(spent).collect();
    let this = Process::myself()?.stat()?;
    spent.insert("load and mail sink".to_owned(), (this.utime + this.stime) as f64 * TICK_MS);
    Ok(spent)
}

/// The CPU time of a process and of all its descendants, those that have ended included.
fn tree_ticks(all: &[Stat], pid: i32) -> i64 {
    let own = all.iter().filter(|process| process.pid == pid);
    let own = own.map(|it| it.utime.cast_signed() + it.stime.cast_signed() + it.cutime + it.cstime);
    let children = all.iter().filter(|process| process.ppid == pid);
    own.sum::<i64>() + children.map(|child| tree_ticks(all, child.pid)).sum::<i64>()
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_alone() {
        let text = "# TYPE hits_count counter\nhits_count{route=\"/a b\"} 3\nhits_count{route=\"/c\"} 4\n\
                    hits_count_total 100\nhits_count 1\n";
        assert_eq!(sum_of(text, "hits_count").expect("samples"), 8.0);
        assert_eq!(sum_of(text, "misses").expect("none"), 0.0);
        assert!(sum_of("hits_count{} many\n", "hits_count").is_err());
    }

    #[test]
    fn a_tree_includes_all_descendants() {
        let process = |pid, parent, ticks| {
            let stat = format!("{pid} (a) b (c)) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 1 1 1");
            let rest = " 20 0 1 0 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";
            Stat::from_read((stat + rest).as_bytes()).expect("a line of proc(5)")
        };
        let all = [process(1, 0, 10), process(2, 1, 20), process(3, 2, 40), process(9, 0, 80)];
        assert_eq!(tree_ticks(&all, 1), 79);
    }
}
