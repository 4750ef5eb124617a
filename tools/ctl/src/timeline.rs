//! `sagactl timeline`: the events of an order in time order, and what is awaited next.

use std::process::ExitCode;

use anyhow::{Context, Result};
use devstack::{one_line, print};
use serde::Deserialize;

use system::Service;

use crate::urls::{Http, Urls};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The order's id
    order: String,
    #[command(flatten)]
    urls: Urls<Http>,
}

/// The timeline as the order service tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Timeline {
    pub(crate) order_id: String,
    pub(crate) status: String,
    pub(crate) settled: bool,
    pub(crate) facts: Vec<Fact>,
    pub(crate) awaiting: Vec<Awaited>,
}

/// A fact, and how long after the one before it happened.
#[derive(Debug, Deserialize)]
pub(crate) struct Fact {
    pub(crate) at: chrono::DateTime<chrono::Utc>,
    pub(crate) service: String,
    pub(crate) event: String,
    pub(crate) delay_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Awaited {
    pub(crate) events: Vec<String>,
    pub(crate) from: String,
    pub(crate) until: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let timeline = fetch(&reqwest::Client::new(), &args.urls, &args.order).await?;
    let settled = if timeline.settled { ", settled" } else { "" };
    print(&format!("order {}: {}{settled}", timeline.order_id, timeline.status));
    for fact in &timeline.facts {
        print(&line(fact));
    }
    for awaited in &timeline.awaiting {
        let until = awaited.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        print(&format!("  awaiting {} from {}{until}", awaited.events.join(" or "), awaited.from));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn fetch(http: &reqwest::Client, urls: &Urls<Http>, order: &str) -> Result<Timeline> {
    let url = format!("{}/api/v1/orders/{order}/timeline", urls.of(Service::Order));
    loadgen::answer(http.get(url)).await.with_context(|| format!("cannot show order {order}"))
}

fn line(fact: &Fact) -> String {
    let delay = fact.delay_ms.map_or_else(String::new, |delay| format!("+{delay:.1} ms"));
    let (service, event) = (one_line(&fact.service), one_line(&fact.event));
    format!("  {}  {delay:>12}  {service:<12}  {event}", fact.at.format("%H:%M:%S%.3f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_one_aligned_line() {
        let fact: Fact = serde_json::from_str(
            r#"{"at": "2026-01-01T00:00:00.0125Z", "service": "payment", "event": "payment.authorized", "delay_ms": 7.25}"#,
        )
        .expect("a fact");
        assert_eq!(line(&fact), "  00:00:00.012       +7.2 ms  payment       payment.authorized");
    }
}
