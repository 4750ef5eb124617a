//! The doctor: looks at what the system stands on, and says of each [check](checks::CHECKS) whether it is as it should
//! be and, where it is not, what to do.
//!
//! Everything is asked first, and judged afterwards by pure functions. What cannot be asked because something before
//! it is missing is said to be so: one fault is one line, and not five.

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

use amqp::RetryDelays;
use amqp::inspect::{self, Depth};
use amqp::topology::Topology;
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use system::Service;
use tokio::time::Instant;

use broker::Broker;
use checks::{CHECKS, Check};
use databases::Database;
use services::Site;

/// How long one party has to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Name and base URL of each service and of the card processor.
    pub services: Vec<(String, String)>,
    /// The database of each service, with a role that may read all of it.
    pub databases: Vec<(Service, String)>,
    /// The broker, with any user.
    pub amqp_url: String,
    /// The broker's management API, with an administrator: nobody else sees the rights of users.
    pub management_url: String,
    /// The delays of the retry retry delays, as the services have them.
    pub retry_delays: RetryDelays,
}

/// What was answered, or why nothing was.
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

/// How a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be, and what was seen.
    Fine(String),
    /// Worth a look, and no fault.
    Hint(String),
    /// What is wrong, and what to do.
    Wrong(String),
    /// It could not be asked, because of what another check says.
    NotAsked(String),
}

/// A check and how it stands.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The check.
    pub check: &'static Check,
    /// How it stands.
    pub verdict: Verdict,
}

/// What one look at everything found.
#[derive(Debug, Clone)]
pub struct Examination {
    /// When it began.
    pub at: DateTime<Utc>,
    /// Every check.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// The names of the checks that found something wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &'static str> {
        let wrong = self.findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Wrong(_)));
        wrong.map(|finding| finding.check.name)
    }
}

/// Looks at everything, again and again until nothing is wrong or `patience` is over: the broker's management API
/// lags by 5 s, and where one has just stopped another is about to take over.
///
/// # Errors
/// When a URL is none. That something does not answer is a finding.
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
    let topology = system::topology(&sources.retry_delays);
    let management = sources.management_url.parse().context("the URL of the management API is none")?;
    let client = reqwest::Client::builder().timeout(ANSWER_LIMIT).build()?;
    let (services, databases, broker) = tokio::join!(
        services::visit(&client, &sources.services),
        databases::read(&sources.databases),
        broker::read(&client, &management, &vhost),
    );
    // A queue that is not there would end the look at all others.
    let there = |name: &String| broker.as_ref().is_ok_and(|broker| broker.queues.contains_key(name));
    let queues: Vec<_> = topology.queues.iter().map(|queue| queue.name.clone()).filter(there).collect();
    let depths = inspect::depths(&sources.amqp_url, &queues).await.map_err(|error| format!("{error:#}"));
    Ok(Seen { vhost, topology, services, databases, broker, depths })
}

/// What an error comes down to.
fn cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}
