//! `bench`: how fast the system is, measured against what its machine can do at the most.
//!
//! Absolute figures mean little on a machine that others use, too. So the limit is measured in the same run, and what
//! counts is the ratio: the highest rate that the whole saga holds, over the limit that `limit` reckons.

pub mod broker_limit;
mod calibrate;
mod counters;
mod drive;
mod footprint;
mod growth;
mod limit;
mod outcome;
mod plot;
mod report;
mod search;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devstack::{Storage, System, SystemOptions, SystemPorts};

use self::calibrate::calibrate;
use self::counters::{Counters, Sources};
use self::drive::Driver;
use self::growth::Growth;
use self::limit::Limit;
use self::report::Report;

/// Orders a second of the load with one order in flight.
const ONE_IN_FLIGHT: f64 = 10.0;
/// In seconds; with growth a rate is held for half of it.
const MIN_GROWTH_HOLD: u32 = 30;

/// The arguments of `bench`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// For how many seconds the system must keep up with a rate; the other parts are as much shorter or longer
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(6..=3600))]
    hold: u32,
    /// Where to begin the search, in orders a second
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    from: f64,
    /// Where to end it, even if the system keeps up
    #[arg(long, default_value_t = 20_000.0, value_parser = rate)]
    up_to: f64,
    /// Measure what past orders, replicas and a backlog do to the rate, and nothing else: takes three quarters of an hour
    #[arg(long)]
    growth: bool,
    /// The folder of data and logs; what is in it is removed
    #[arg(long, default_value = "/var/tmp/shop-bench")]
    dir: PathBuf,
    /// Where to write the results: FILE.json and FILE.svg
    #[arg(long, default_value = "target/bench", value_name = "FILE")]
    out: PathBuf,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 1 to 100000".to_owned()),
    }
}

/// How long each part is measured.
#[derive(Debug, Clone, Copy)]
struct Times {
    hold: Duration,
    /// A step of the search, and the warm-up.
    step: Duration,
    /// At a part of the highest rate, and with one order in flight.
    part: Duration,
    /// Each part of the machine alone.
    calibration: Duration,
}

impl Times {
    fn of(hold: u32) -> Self {
        let hold = Duration::from_secs(hold.into());
        Self { hold, step: hold / 6, part: hold / 2, calibration: hold / 30 }
    }
}

/// Runs the benchmark and tells what it measures.
///
/// # Errors
/// What did not come up, or did not come to its end.
pub async fn run(args: Args, binaries: PathBuf, say: impl Fn(&str)) -> Result<ExitCode> {
    ensure!(args.from <= args.up_to, "--from {} is above --up-to {}", args.from, args.up_to);
    if args.growth {
        ensure!(
            args.hold >= MIN_GROWTH_HOLD,
            "--growth with --hold {}: what is held for so short a time tells little, take {MIN_GROWTH_HOLD} or more",
            args.hold
        );
        let mut growth = Growth::default();
        let measured = growth::measure(&mut growth, &args, &binaries, &say).await;
        growth.tell(&say);
        let file = args.out.with_extension("growth.json");
        let written = report::write_json(&file, &serde_json::to_value(&growth)?);
        if let Ok(json) = &written {
            say(&format!("{}", json.display()));
        }
        return measured.and(written).map(|_| ExitCode::SUCCESS);
    }
    say("starting the system");
    let (mut system, _) = start(&args, &binaries, &[]).await?;
    let report = measure(&mut system, &args, &binaries, &say).await?;
    report.tell(&say);
    let files = report.write(&args.out)?;
    system.stop().await?;
    say(&format!("{}", files.plot.display()));
    say(&format!("{}", files.json.display()));
    Ok(ExitCode::SUCCESS)
}

/// Starts a system with nothing in it, its services told these variables.
async fn start(
    args: &Args,
    binaries: &Path,
    environment: &[(&str, &str)],
) -> Result<(System, SystemOptions)> {
    if args.dir.exists() {
        std::fs::remove_dir_all(&args.dir)
            .with_context(|| format!("cannot remove {}", args.dir.display()))?;
    }
    let options = SystemOptions {
        dir: args.dir.clone(),
        ports: SystemPorts::free()?,
        binaries: binaries.to_owned(),
        storage: Storage::Measured,
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let system =
        System::start(&options, async |url| Ok(system::apply_topology(url).await?), |_, _| {}).await?;
    Ok((system, options))
}

async fn measure(system: &mut System, args: &Args, binaries: &Path, say: &impl Fn(&str)) -> Result<Report> {
    let times = Times::of(args.hold);
    let driver = Driver::open(system, &[]).await?;
    let idle = footprint::memory(system)?;
    say("calibrating");
    let before = calibrate(system, &args.dir, times.calibration).await?;
    driver.seed_stock().await?;
    driver.drive(args.from, times.step).await?;
    say("one order in flight");
    let alone = driver.drive(ONE_IN_FLIGHT, times.part).await?;
    say("searching for the highest rate that is held");
    let steps = search::climb(&driver, args.from..=args.up_to, times.step, say).await?;
    let sources = Sources::open(system, &[]).await?;
    let (held, cost) = hold(&driver, &sources, &steps, times.hold, say).await?;
    say("latencies at parts of it");
    let half = driver.drive(held.rate * 0.5, times.part).await?;
    say(&search::line(&half));
    let most = driver.drive(held.rate * 0.8, times.part).await?;
    say(&search::line(&most));
    say("calibrating again");
    let after = calibrate(system, &args.dir, times.calibration).await?;
    let peak = footprint::memory(system)?;
    drop((driver, sources));
    let footprints = footprint::footprints(system, binaries, &idle, &peak).await?;
    let calibration = before.mean(&after);
    Ok(Report {
        limit: Limit::of(&calibration, &cost),
        drift: before.drift(&after),
        before,
        after,
        calibration,
        throughput: held,
        cost,
        alone,
        half,
        most,
        steps,
        footprints,
    })
}

/// The highest rate that is held for the whole time, and what an order takes at it.
async fn hold(
    driver: &Driver,
    sources: &Sources<'_>,
    steps: &[outcome::Outcome],
    duration: Duration,
    say: &impl Fn(&str),
) -> Result<(outcome::Outcome, counters::PerOrder)> {
    let mut counted: Option<Counters> = None;
    let mut at = async |rate: f64| {
        let before = match counted.take() {
            Some(counters) => counters,
            None => sources.read().await?,
        };
        let outcome = driver.drive(rate, duration).await?;
        say(&search::line(&outcome));
        let after = sources.read().await?;
        let cost = after.per_order(&before, outcome.orders);
        counted = Some(after);
        anyhow::Ok((outcome, cost))
    };
    search::hold(steps, &mut at).await
}
