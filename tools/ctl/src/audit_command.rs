//! `sagactl audit`: whether the rules about the whole system hold.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use audit::{Audit, Auditor, Recorded, Sources, report};
use devstack::{one_line, print};
use tokio::time::{MissedTickBehavior, interval};

use crate::{client, load};

/// A violation across databases counts when it is still there after this time at rest.
const CONFIRM: Duration = Duration::from_secs(3);
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Exit status when no rule is broken, and the system is not at rest.
const NOT_AT_REST: u8 = 2;

/// The arguments of `sagactl audit`. Exit status: 0 all rules hold, 1 one is broken or something cannot be read, 2 no
/// rule is broken and the system is not at rest.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check the rules that hold at every moment every 2 s, until Ctrl-C; for use under load
    #[arg(long, conflicts_with_all = ["wait", "recorded"])]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How long to wait for the system to come to rest, in seconds
    #[arg(long, default_value_t = 60)]
    wait: u64,
    /// Orders that must exist, as `sagactl load --record` wrote them
    #[arg(long, value_name = "FILE")]
    recorded: Option<PathBuf>,
    /// How many dead letters are expected
    #[arg(long, default_value_t = 0)]
    dead_letters: usize,
    #[command(flatten)]
    servers: client::Servers,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let auditor = Auditor::open(sources(&args)?).await?;
    if args.watch {
        return watch(&auditor, args.json).await;
    }
    let audit = auditor.audit(Duration::from_secs(args.wait), CONFIRM).await?;
    show(&audit, args.json);
    Ok(exit_code(&audit))
}

fn sources(args: &Args) -> Result<Sources> {
    let servers = &args.servers;
    Ok(Sources {
        databases: servers.databases(),
        amqp_url: servers.amqp_url.clone(),
        provider_url: servers.provider_url.trim_end_matches('/').to_owned(),
        expected_dead_letters: args.dead_letters,
        recorded: args.recorded.as_deref().map(read_recorded).transpose()?.unwrap_or_default(),
    })
}

fn read_recorded(path: &Path) -> Result<Vec<Recorded>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    load::recorded(&text).with_context(|| format!("{} was not written by sagactl load", path.display()))
}

async fn watch(auditor: &Auditor, json: bool) -> Result<ExitCode> {
    let mut ticks = interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut broken = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
        }
        let audit = auditor.watch().await?;
        broken |= audit.is_broken();
        if json || audit.is_broken() {
            show(&audit, json);
        } else {
            print(&format!("{}  {}", audit.at.format("%H:%M:%S"), report::verdict(&audit)));
        }
    }
}

fn show(audit: &Audit, json: bool) {
    if json {
        print(&report::json(audit).to_string());
    } else {
        report::lines(audit).iter().for_each(|line| print(&one_line(line)));
    }
}

fn exit_code(audit: &Audit) -> ExitCode {
    if audit.is_broken() {
        ExitCode::FAILURE
    } else if audit.under_way.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_AT_REST)
    }
}
