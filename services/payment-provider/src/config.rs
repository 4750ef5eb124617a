//! What the processor can be told by its environment.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use runtime::config::{ProcessConfig, duration};

/// A simulated card processor with faults to switch on.
#[derive(Debug, Clone, Parser)]
#[command(name = "payment-provider", version)]
#[command(mut_arg("HTTP_LISTEN", |arg| arg.default_value("0.0.0.0:8090")))]
// A call that gets no answer is meant to outlast its caller's patience.
#[command(mut_arg("HTTP_REQUEST_TIMEOUT", |arg| arg.default_value("2m")))]
pub struct Config {
    #[command(flatten)]
    pub process: ProcessConfig,

    /// The file that keeps everything over a restart, e.g. /var/lib/payment-provider/journal.jsonl; without
    /// it everything is kept in memory only
    #[arg(long, env = "JOURNAL_PATH")]
    pub journal_path: Option<PathBuf>,

    /// The time a call without an answer is held open before it is answered 504, 0ms to 1h, e.g. 30s
    #[arg(long, env = "HANG_DURATION", default_value = "30s")]
    #[arg(value_parser = duration(Duration::ZERO..=Duration::from_hours(1)))]
    pub hang_duration: Duration,

    /// The time that a payment with pm_down gets no answer, from its first call, 0ms to 24h, e.g. 45s
    #[arg(long, env = "DOWN_DURATION", default_value = "45s")]
    #[arg(value_parser = duration(Duration::ZERO..=Duration::from_hours(24)))]
    pub down_duration: Duration,

    /// The seed of the random faults, to meet the same ones again, e.g. 17
    #[arg(long, env = "SEED")]
    pub seed: Option<u64>,
}
