//! What the running system counts itself: Postgres, RabbitMQ, the services and the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::iter;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::{Replicas, System};
use reqwest::Client;
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgPool, Row};
use system::Service;
use tokio::time::{Instant, sleep};

pub(super) const PROVIDER: &str = system::Outside::PaymentProvider.program().name;
/// How often the broker's counters are read, which it updates every 5 s.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);
const REST_LIMIT: Duration = Duration::from_secs(60);
/// The kernel's unit of CPU time, 1/100 s on every Linux.
const TICK_MS: f64 = 10.0;

/// All counters, at one moment at rest.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    writes: f64,
    /// Transactions of any kind, in the services' databases.
    transactions: f64,
    statements: f64,
    wal_bytes: f64,
    deliveries: f64,
    placements: f64,
    requests: f64,
    mails: f64,
    /// CPU in ms, by process, with its children.
    cpu_ms: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct PerOrder {
    pub(super) commits: f64,
    /// Transactions of any kind, reading ones and polls included.
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
    /// CPU in ms, by process.
    pub(super) cpu_ms: BTreeMap<String, f64>,
}

impl PerOrder {
    /// What commits are about: events that are applied, orders that are placed, calls and mails whose outcome is
    /// recorded. The commits in which the relay deletes what is published are counted, its deletes are not.
    pub(super) fn items(&self) -> f64 {
        self.deliveries + self.placements + self.calls + self.mails
    }

    pub(super) fn total_cpu_ms(&self) -> f64 {
        self.cpu_ms.values().sum()
    }
}

/// Reads the counters.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    system: &'a System,
    /// Every service with the URLs of its replicas.
    urls: BTreeMap<&'static str, Vec<String>>,
    http: Client,
    admin: PgPool,
}

impl<'a> Sources<'a> {
    /// For a system with these further replicas of each service, whose CPU is not counted.
    pub(super) async fn open(system: &'a System, others: &[Replicas]) -> Result<Self> {
        let admin = PgPool::connect(&format!("{}/postgres", system.postgres.superuser_url())).await?;
        sqlx::raw_sql("create extension if not exists pg_stat_statements").execute(&admin).await?;
        let urls = services().map(|name| (name, urls(system, others, name))).collect();
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
        let mut requests = BTreeMap::new();
        for (name, urls) in &self.urls {
            requests.insert(*name, self.requests(urls).await?);
        }
        Ok(Counters {
            writes: row.try_get(0)?,
            transactions: row.try_get(1)?,
            statements: row.try_get(2)?,
            wal_bytes: row.try_get(3)?,
            deliveries,
            placements: requests["order"],
            requests: requests.values().sum(),
            mails: self.system.smtp.count() as f64,
            cpu_ms: cpu_ms(self.system)?,
        })
    }

    async fn final_deliveries(&self) -> Result<f64> {
        let end = Instant::now() + REST_LIMIT;
        let mut last = self.deliveries().await?;
        loop {
            sleep(LOOK_INTERVAL).await;
            // Twice, since two readings may fall between two updates.
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

    /// How many requests the replicas of a service have answered.
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

impl Counters {
    /// The cost of each of `orders` since an earlier moment.
    pub(super) fn per_order(&self, before: &Self, orders: usize) -> PerOrder {
        let each = |of: fn(&Self) -> f64| (of(self) - of(before)) / orders as f64;
        let cpu = |(name, now): (&String, &f64)| {
            let spent = now - before.cpu_ms.get(name).copied().unwrap_or(0.0);
            (name.clone(), spent / orders as f64)
        };
        PerOrder {
            commits: each(|it| it.writes),
            transactions: each(|it| it.transactions),
            statements: each(|it| it.statements),
            wal_bytes: each(|it| it.wal_bytes),
            deliveries: each(|it| it.deliveries),
            placements: each(|it| it.placements),
            requests: each(|it| it.requests),
            calls: each(|it| it.requests - it.placements),
            mails: each(|it| it.mails),
            cpu_ms: self.cpu_ms.iter().map(cpu).collect(),
        }
    }
}

/// Every service, and the card processor.
pub(super) fn services() -> impl Iterator<Item = &'static str> {
    Service::ALL.iter().map(|service| service.as_str()).chain([PROVIDER])
}

/// The URLs of all replicas of a service.
pub(super) fn urls(system: &System, others: &[Replicas], service: &str) -> Vec<String> {
    let others = others.iter().filter_map(|replicas| replicas.url(service));
    iter::once(system.url(service)).chain(others).collect()
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

/// The process of each part of the system.
pub(super) fn processes(system: &System) -> Vec<(String, i32)> {
    let services = services().filter_map(|name| Some((name.to_owned(), system.services.pid(name)?)));
    let servers =
        [("Postgres".to_owned(), system.postgres.pid()), ("RabbitMQ".to_owned(), system.rabbitmq.pid())];
    services.chain(servers).collect()
}

fn cpu_ms(system: &System) -> Result<BTreeMap<String, f64>> {
    let table = process_table()?;
    let mut spent: BTreeMap<_, _> =
        processes(system).into_iter().map(|(name, pid)| (name, tree_ticks(&table, pid) * TICK_MS)).collect();
    let this = i32::try_from(std::process::id())?;
    let load = table.get(&this).map_or(0.0, |process| process.own_ticks);
    spent.insert("load and mail sink".to_owned(), load * TICK_MS);
    Ok(spent)
}

/// A line of /proc/PID/stat (proc(5)): CPU time in ticks.
#[derive(Debug, Clone, Copy)]
struct ProcessTime {
    parent: i32,
    own_ticks: f64,
    children_ticks: f64,
}

fn process_table() -> Result<BTreeMap<i32, ProcessTime>> {
    let entries = fs::read_dir("/proc").context("/proc")?.flatten();
    Ok(entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A process may have ended meanwhile.
            Some((pid, parse_stat(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect())
}

fn parse_stat(stat: &str) -> Option<ProcessTime> {
    // The name is in brackets and may hold anything: what follows begins with field 3.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some(ProcessTime {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: ticks(14)? + ticks(15)?,
        children_ticks: ticks(16)? + ticks(17)?,
    })
}

fn tree_ticks(table: &BTreeMap<i32, ProcessTime>, pid: i32) -> f64 {
    let children = table.iter().filter(|(_, process)| process.parent == pid).map(|(child, _)| *child);
    let below: f64 = children.map(|child| tree_ticks(table, child)).sum();
    table.get(&pid).map_or(0.0, |process| process.own_ticks + process.children_ticks) + below
}

#[cfg(test)]
mod tests {
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
    fn the_time_of_a_process_is_read_whatever_its_name() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 0 0";
        let process = parse_stat(stat).expect("a line of proc(5)");
        assert_eq!((process.parent, process.own_ticks, process.children_ticks), (7, 33.0, 77.0));
    }

    #[test]
    fn a_tree_includes_all_descendants() {
        let process = |parent, own_ticks| ProcessTime { parent, own_ticks, children_ticks: 0.5 };
        let table = BTreeMap::from([
            (1, process(0, 1.0)),
            (2, process(1, 2.0)),
            (3, process(2, 4.0)),
            (9, process(0, 8.0)),
        ]);
        assert_eq!(tree_ticks(&table, 1), 8.5);
    }
}
