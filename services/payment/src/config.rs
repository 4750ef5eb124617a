//! The configuration: environment variables, read once.

use std::{ops::RangeInclusive, time::Duration};

use messaging::{BreakerConfig, HostConfig, jobs::JobSettings};
use runtime::config::{ProcessConfig, duration, http_url};
use url::Url;

/// How long a call may take.
const CALL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);
/// How long to wait before a call is made again.
const BACKOFF: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);

/// The queue of the calls to the card processor.
pub(crate) const CALLS: &str = "payment.calls";
/// The card processor's name in logs and metrics.
const PROCESSOR: &str = "card-processor";

/// Holds, takes and gives back the money of an order
#[derive(Debug, clap::Parser)]
#[command(name = "payment", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8082")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,
    #[command(flatten)]
    pub host: HostConfig,
    #[command(flatten)]
    pub processor: ProcessorConfig,
}

/// The card processor, and how long to wait for it.
#[derive(Debug, Clone, clap::Args)]
pub struct ProcessorConfig {
    /// The card processor's URL, e.g. http://localhost:8090
    #[arg(long, env = "PAYMENT_PROVIDER_URL", value_parser = http_url)]
    pub payment_provider_url: Url,

    /// The time that a call may take, from connecting to the end of its answer, 1ms to 10m, e.g. 2s; then its outcome is
    /// unknown and the same call is made again
    #[arg(long, env = "CALL_TIMEOUT", default_value = "2s", value_parser = duration(CALL))]
    pub call_timeout: Duration,

    /// The time that connecting may take, 1ms to 10m, e.g. 1s
    #[arg(long, env = "CALL_CONNECT_TIMEOUT", default_value = "1s", value_parser = duration(CALL))]
    pub call_connect_timeout: Duration,

    /// The number of calls to make at once at most, 1 to 1000
    #[arg(long, env = "CALL_CONCURRENCY", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub call_concurrency: u16,

    /// The time within which a call whose outcome is unknown is made again the first time; it doubles with every
    /// further one, 1ms to 1h, e.g. 100ms
    #[arg(long, env = "CALL_BACKOFF_BASE", default_value = "100ms", value_parser = duration(BACKOFF))]
    pub call_backoff_base: Duration,

    /// The time within which such a call is made again at the latest, 1ms to 1h, e.g. 5m
    #[arg(long, env = "CALL_BACKOFF_CAP", default_value = "5m", value_parser = duration(BACKOFF))]
    pub call_backoff_cap: Duration,

    #[command(flatten)]
    pub breaker: BreakerConfig,
}

/// What a call needs beside its timeout: to be claimed, to start, and to have its outcome recorded.
const LEASE_MARGIN: Duration = Duration::from_secs(3);

impl ProcessorConfig {
    /// How a call's job is run. Its lease is made from the timeout, so that it cannot end before the call does:
    /// two workers would make the same call at once.
    pub fn jobs(&self) -> JobSettings {
        JobSettings {
            queue: CALLS,
            concurrency: self.call_concurrency.into(),
            lease: self.call_timeout + LEASE_MARGIN,
            backoff_base: self.call_backoff_base,
            backoff_cap: self.call_backoff_cap,
            dependency: PROCESSOR,
            breaker: self.breaker.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_outlasts_its_call() {
        for call_timeout in [Duration::from_millis(1), Duration::from_secs(2), Duration::from_secs(3600)] {
            let config = ProcessorConfig {
                payment_provider_url: http_url("http://localhost:8090").expect("a URL"),
                call_timeout,
                call_connect_timeout: call_timeout,
                call_concurrency: 1,
                call_backoff_base: call_timeout,
                call_backoff_cap: call_timeout,
                breaker: BreakerConfig { failures: 1, pause: call_timeout, pause_cap: call_timeout },
            };
            assert!(config.jobs().lease > call_timeout, "{call_timeout:?}");
        }
    }
}
