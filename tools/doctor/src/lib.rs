//! The doctor: looks at servers, rights, queues, versions and clocks, and reports for each [check](checks::CHECKS) what
//! is wrong and what to do.
//!
//! Everything is read first, and judged afterwards by pure functions. A check that depends on something missing is not
//! a second fault: one fault is one line.

mod broker;
pub mod checks;
mod clock;
mod databases;
mod http;
pub mod report;
mod services;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use amqp::inspect::{self, Depth};
use amqp::topology::Topology;
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;
use system::Service;
use tokio::time::Instant;

use broker::Broker;
use checks::{CHECKS, Check};
use databases::Database;
use services::Site;

/// How long a server or service has to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct Sources {
    /// Name of each service and of the card processor, with the base URL where it serves health.
    pub services: Vec<(String, String)>,
    /// The database of each service, with a role that may read all of it.
    pub databases: Vec<(Service, String)>,
    pub amqp_url: String,
    /// The broker's management API, with an administrator, who alone sees the rights of users.
    pub management_url: String,
}

/// An answer, or why there is none.
type Asked<T> = Result<T, String>;

/// Everything that the checks look at.
#[derive(Debug)]
struct Seen {
    vhost: String,
    topology: Topology,
    services: Vec<Site>,
    databases: BTreeMap<Service, Asked<Database>>,
    broker: Asked<Broker>,
    depths: Asked<BTreeMap<String, Depth>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "text")]
pub enum Verdict {
    /// As it should be, and what was seen.
    #[serde(rename = "ok")]
    Fine(String),
    /// Worth a look, but no fault.
    #[serde(rename = "hint")]
    Hint(String),
    /// What is wrong, and what to do.
    #[serde(rename = "wrong")]
    Wrong(String),
    /// Not checked, because of what another check found.
    #[serde(rename = "not checked")]
    NotChecked(String),
}

#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    #[serde(flatten)]
    pub check: &'static Check,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The result of one look at everything.
#[derive(Debug, Clone, Serialize)]
pub struct Examination {
    pub at: DateTime<Utc>,
    #[serde(rename = "checks")]
    pub findings: Vec<Finding>,
}

impl Examination {
    /// The names of the checks that found something wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &'static str> {
        let wrong = self.findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Wrong(_)));
        wrong.map(|finding| finding.check.name)
    }
}

/// Looks at everything, repeatedly until nothing is wrong or `patience` is over: the broker's management API lags by
/// 5 s, and a replica may be about to take over from another.
pub async fn examine(sources: &Sources, patience: Duration) -> Result<Examination> {
    let end = Instant::now() + patience;
    loop {
        let at = runtime::clock::now();
        let seen = look(sources).await?;
        let findings = CHECKS.iter().map(|check| Finding { check, verdict: (check.judge)(&seen) });
        let examination = Examination { at, findings: findings.collect() };
        if examination.wrong().next().is_none() || Instant::now() >= end {
            return Ok(examination);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

async fn look(sources: &Sources) -> Result<Seen> {
    let vhost = amqp::connection::vhost(&sources.amqp_url)?;
    let topology = system::topology();
    let management = sources.management_url.parse().context("not a valid URL of the management API")?;
    let client = reqwest::Client::builder().timeout(ANSWER_LIMIT).build()?;
    let (services, databases, broker) = tokio::join!(
        services::visit(&client, &sources.services),
        databases::read(&sources.databases),
        broker::read(&client, &management, &vhost),
    );
    // A missing queue would close the channel, and nothing would be known of the others.
    let there = |name: &String| broker.as_ref().is_ok_and(|broker| broker.queues.contains_key(name));
    let queues: Vec<_> = topology.queues.iter().map(|queue| queue.name.clone()).filter(there).collect();
    let depths = inspect::depths(&sources.amqp_url, &queues).await.map_err(|error| format!("{error:#}"));
    Ok(Seen { vhost, topology, services, databases, broker, depths })
}

/// The innermost cause of an error.
fn cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}
