//! `bench`: how fast the system is, compared with the most that its machine can do.
//!
//! Absolute figures mean little on a shared machine. So the limit is measured in the same run, and what counts is the
//! ratio: the highest rate that the whole saga holds, over the limit that `limit` computes.

pub mod broker_limit;
mod calibrate;
mod counters;
mod drive;
mod footprint;
mod growth;
mod limit;
mod outcome;
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

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// For how many seconds the system must keep up with a rate; other parts scale with it
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(6..=3600))]
    hold: u32,
    /// The lowest rate to try, in orders a second
    #[arg(long, default_value_t = 200.0, value_parser = loadgen::rate)]
    from: f64,
    /// The highest rate to try, in orders a second
    #[arg(long, default_value_t = 20_000.0, value_parser = loadgen::rate)]
    up_to: f64,
    /// Measure only how past orders, replicas and a backlog change the rate: takes 45 minutes
    #[arg(long)]
    growth: bool,
    /// The folder of data and logs; it is emptied first
    #[arg(long, default_value = "/var/tmp/shop-bench")]
    dir: PathBuf,
    /// Where to write the results: FILE.json
    #[arg(long, default_value = "target/bench", value_name = "FILE")]
    out: PathBuf,
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

pub async fn run(args: Args, binaries: PathBuf, print: impl Fn(&str)) -> Result<ExitCode> {
    ensure!(args.from <= args.up_to, "--from {} is above --up-to {}", args.from, args.up_to);
    if args.growth {
        ensure!(
            args.hold >= MIN_GROWTH_HOLD,
            "--growth with --hold {}: too short to be meaningful, take {MIN_GROWTH_HOLD} or more",
            args.hold
        );
        let mut growth = Growth::default();
        let measured = growth::measure(&mut growth, &args, &binaries, &print).await;
        growth.print(&print);
        let file = args.out.with_extension("growth.json");
        let written = report::write_json(&file, &serde_json::to_value(&growth)?);
        if let Ok(json) = &written {
            print(&json.display().to_string());
        }
        return measured.and(written).map(|_| ExitCode::SUCCESS);
    }
    print("starting the system");
    let mut system = start(&args, &binaries, &[]).await?;
    let report = measure(&mut system, &args, &binaries, &print).await?;
    print(&report.to_string());
    let json = report.write(&args.out)?;
    system.stop().await?;
    print(&json.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Starts an empty system, its services with these variables.
async fn start(args: &Args, binaries: &Path, environment: &[(&str, &str)]) -> Result<System> {
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
        proxied: false,
        configure: |_, _| {},
    };
    System::start(options, |_, _| {}).await
}

async fn measure(system: &mut System, args: &Args, binaries: &Path, print: &impl Fn(&str)) -> Result<Report> {
    let times = Times::of(args.hold);
    let driver = Driver::open(system, &[]).await?;
    let idle = footprint::memory(system)?;
    print("calibrating");
    let before = calibrate(system, &args.dir, times.calibration).await?;
    driver.seed_stock().await?;
    driver.drive(args.from, times.step).await?;
    print("one order in flight");
    let alone = driver.drive(ONE_IN_FLIGHT, times.part).await?;
    print("searching for the highest rate that is held");
    let steps = search::climb(&driver, args.from..=args.up_to, times.step, print).await?;
    let sources = Sources::open(system, &[]).await?;
    let (held, cost) = hold(&driver, &sources, &steps, times.hold, print).await?;
    print("latencies at parts of it");
    let half = driver.drive(held.rate * 0.5, times.part).await?;
    print(&search::line(&half));
    let most = driver.drive(held.rate * 0.8, times.part).await?;
    print(&search::line(&most));
    print("calibrating again");
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

/// The highest rate that is held for the whole time, and the cost of an order at it.
async fn hold(
    driver: &Driver,
    sources: &Sources<'_>,
    steps: &[outcome::Outcome],
    duration: Duration,
    print: &impl Fn(&str),
) -> Result<(outcome::Outcome, Counters)> {
    let mut before = sources.read().await?;
    let mut at = async |rate: f64| {
        let outcome = driver.drive(rate, duration).await?;
        print(&search::line(&outcome));
        let after = sources.read().await?;
        let cost = after.per_order(&before, outcome.orders);
        before = after;
        anyhow::Ok((outcome, cost))
    };
    search::hold(steps, &mut at).await
}
