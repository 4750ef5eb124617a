//! The auditor: reads all databases, the broker's queues and the card processor's report, and reports which
//! [rules](rules::RULES) hold.
//!
//! A rule about one database must hold at every moment, and is a query over one snapshot. A rule across databases is
//! about a system at rest: events take time to arrive, so it is checked once nothing is under way, and a violation counts
//! when it is still there a moment later.
//!
//! It only reads: its database role has no right to write. Its queries are not checked at compile time, because they
//! are for several databases; the tests inject a corruption for each.

pub mod charges;
mod cross_service;
pub mod report;
pub mod rules;
pub mod snapshot;

use std::collections::BTreeMap;
use std::time::Duration;

use amqp::topology::EVENT_STREAM;
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rules::{Check, RULES, Rule};
use serde::Serialize;
use snapshot::{Snapshot, Tables};
use sqlx::PgPool;
use system::Service;
use tokio::time::Instant;

const LOOK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Sources {
    /// The database of each service, with a role that may read all of it.
    pub databases: Vec<(Service, String)>,
    /// The broker, with a user that may read the event stream.
    pub amqp_url: String,
    /// Base URL of the card processor.
    pub provider_url: String,
    /// How many dead letters are expected, by distinct message id.
    pub expected_dead_letters: usize,
    /// Orders that clients know to be accepted, with their idempotency keys.
    pub recorded: Vec<Recorded>,
}

/// An order that was answered 202.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The idempotency key that it was placed with.
    pub key: String,
    pub order_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, Serialize)]
pub struct Violation {
    /// An order's id, a SKU, a currency, or whatever else it is about.
    pub about: String,
    pub fault: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct Count {
    pub count: usize,
    pub what: &'static str,
}

/// What was looked at, and what the rule does not hold for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Found {
    pub counted: Vec<Count>,
    pub violations: Vec<Violation>,
}

impl Found {
    fn of<const N: usize>(
        counted: [(usize, &'static str); N],
        violations: impl IntoIterator<Item = Violation>,
    ) -> Self {
        let counted = counted.map(|(count, what)| Count { count, what });
        Self { counted: counted.into(), violations: violations.into_iter().collect() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    #[serde(rename = "ok")]
    Holds,
    #[serde(rename = "wrong")]
    Broken,
    /// It does not hold yet: something is under way.
    #[serde(rename = "not at rest")]
    NotAtRest,
}

#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    #[serde(flatten)]
    pub rule: &'static Rule,
    pub verdict: Verdict,
    #[serde(flatten)]
    pub found: Found,
}

impl Finding {
    fn of(rule: &'static Rule, mut found: Found, at_rest: bool) -> Self {
        let verdict = match rule.check {
            _ if found.violations.is_empty() => Verdict::Holds,
            Check::AtRest(_) if !at_rest => Verdict::NotAtRest,
            _ => Verdict::Broken,
        };
        if verdict == Verdict::NotAtRest {
            found.violations.clear();
        }
        Self { rule, verdict, found }
    }
}

/// The result of one look at everything.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    pub at: DateTime<Utc>,
    #[serde(rename = "rules")]
    pub findings: Vec<Finding>,
    /// What is under way; empty at rest.
    pub under_way: Vec<String>,
    /// Orders that wait for the card processor, which is no violation.
    pub awaiting_processor: Vec<String>,
}

impl Audit {
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken().next().is_some()
    }

    /// The names of the rules that are broken.
    pub fn broken(&self) -> impl Iterator<Item = &'static str> {
        let broken = self.findings.iter().filter(|finding| finding.verdict == Verdict::Broken);
        broken.map(|finding| finding.rule.name)
    }
}

/// Reads everything, repeatedly if need be.
#[derive(Debug)]
pub struct Auditor {
    sources: Sources,
    pools: BTreeMap<Service, PgPool>,
    http: reqwest::Client,
}

impl Auditor {
    pub async fn open(sources: Sources) -> Result<Self> {
        let pools = snapshot::open(&sources.databases).await?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        Ok(Self { sources, pools, http })
    }

    /// Looks until everything is at rest and every rule holds, or `wait` is over. A rule counts as broken once it has
    /// been so for `confirm` at rest.
    pub async fn audit(&self, wait: Duration, confirm: Duration) -> Result<Audit> {
        let end = Instant::now() + wait;
        let mut rest_begun = None;
        loop {
            let audit = self.look().await?;
            if audit.under_way.is_empty() {
                let begun = *rest_begun.get_or_insert_with(Instant::now);
                if !audit.is_broken() || begun.elapsed() >= confirm {
                    return Ok(audit);
                }
            } else {
                rest_begun = None;
            }
            if Instant::now() > end {
                return Ok(audit);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Checks the rules about one database.
    pub async fn watch(&self) -> Result<Audit> {
        let mut tables = Tables::begin(&self.pools).await?;
        let at = runtime::clock::now();
        let mut findings = Vec::new();
        for rule in RULES {
            if let Check::Alone(queries) = &rule.check {
                findings.push(Finding::of(rule, tables.ask(queries).await?, false));
            }
        }
        Ok(Audit { at, findings, under_way: Vec::new(), awaiting_processor: Vec::new() })
    }

    /// Every queue that services consume; the event stream keeps what was read.
    fn queues(&self) -> Vec<String> {
        let topology = system::topology();
        topology.queues.into_iter().map(|queue| queue.name).filter(|name| name != EVENT_STREAM).collect()
    }

    async fn look(&self) -> Result<Audit> {
        let at = runtime::clock::now();
        // Queues first: what leaves one afterwards is seen in a database.
        let depths = amqp::inspect::depths(&self.sources.amqp_url, &self.queues())
            .await
            .context("cannot read the broker's queues")?;
        let queues = depths.into_iter().map(|(queue, depth)| (queue, depth.messages)).collect();
        let mut tables = Tables::begin(&self.pools).await?;
        let charges = charges::fetch(&self.http, &self.sources.provider_url).await?;
        let snapshot = Snapshot::read(&mut tables, &self.sources, queues, charges).await?;
        let under_way = snapshot.under_way();
        let mut findings = Vec::with_capacity(RULES.len());
        for rule in RULES {
            let found = match &rule.check {
                Check::Alone(queries) => tables.ask(queries).await?,
                Check::Always(check) | Check::AtRest(check) => check(&snapshot),
            };
            findings.push(Finding::of(rule, found, under_way.is_empty()));
        }
        Ok(Audit { at, findings, under_way, awaiting_processor: snapshot.awaiting_processor() })
    }
}
