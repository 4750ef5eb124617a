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

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devstack::{Storage, System, SystemOptions, SystemPorts};
use serde_json::Value;

use self::calibrate::calibrate;
use self::counters::{Counters, Sources};
use self::drive::Driver;
use self::growth::Growth;
use self::limit::Limit;
use self::outcome::Outcome;
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

/// A run of the benchmark.
struct Bench<'a> {
    args: Args,
    /// The folder of the services' programs.
    binaries: PathBuf,
    print: &'a dyn Fn(&str),
    /// For how long a rate must be held.
    hold: Duration,
    /// A step of the search, and the warm-up.
    step: Duration,
    /// At a part of the highest rate, and with one order in flight.
    part: Duration,
    /// Each part of the machine alone.
    calibration: Duration,
}

pub async fn run(args: Args, binaries: PathBuf, print: impl Fn(&str)) -> Result<ExitCode> {
    ensure!(args.from <= args.up_to, "--from {} is above --up-to {}", args.from, args.up_to);
    let hold = Duration::from_secs(args.hold.into());
    let (step, part, calibration) = (hold / 6, hold / 2, hold / 30);
    let bench = Bench { args, binaries, print: &print, hold, step, part, calibration };
    if bench.args.growth {
        bench.growth().await?;
    } else {
        bench.throughput().await?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Bench<'_> {
    async fn growth(&self) -> Result<()> {
        ensure!(
            self.args.hold >= MIN_GROWTH_HOLD,
            "--growth with --hold {}: too short to be meaningful, take {MIN_GROWTH_HOLD} or more",
            self.args.hold
        );
        let mut growth = Growth::default();
        let measured = growth::measure(&mut growth, self).await;
        growth.print(self.print);
        let written = self.write("growth.json", &serde_json::to_value(&growth)?);
        measured.and(written)
    }

    async fn throughput(&self) -> Result<()> {
        (self.print)("starting the system");
        let mut system = self.start(&[]).await?;
        let report = self.measure(&mut system).await?;
        (self.print)(&report.to_string());
        self.write("json", &report.to_json()?)?;
        system.stop().await
    }

    /// Writes the results, and prints the path of their file.
    fn write(&self, extension: &str, results: &Value) -> Result<()> {
        let file = self.args.out.with_extension(extension);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let text = format!("{results:#}\n");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        (self.print)(&file.display().to_string());
        Ok(())
    }

    /// Starts an empty system, its services with these variables.
    async fn start(&self, environment: &[(&str, &str)]) -> Result<System> {
        let dir = &self.args.dir;
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
        let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let options = SystemOptions {
            dir: dir.clone(),
            ports: SystemPorts::free()?,
            binaries: self.binaries.clone(),
            storage: Storage::Measured,
            environment: environment.iter().map(variable).collect(),
            proxied: false,
            configure: |_, _| {},
        };
        System::start(options, |_, _| {}).await
    }

    async fn measure(&self, system: &mut System) -> Result<Report> {
        let print = self.print;
        let driver = Driver::open(system, &[]).await?;
        let idle = footprint::memory(system)?;
        print("calibrating");
        let before = calibrate(system, &self.args.dir, self.calibration).await?;
        driver.seed_stock().await?;
        driver.drive(self.args.from, self.step).await?;
        print("one order in flight");
        let alone = driver.drive(ONE_IN_FLIGHT, self.part).await?;
        print("searching for the highest rate that is held");
        let steps = self.climb(&driver).await?;
        let sources = Sources::open(system, &[]).await?;
        let (throughput, cost) = self.hold(&driver, &sources, &steps, self.hold).await?;
        print("latencies at parts of it");
        let half = driver.drive(throughput.rate * 0.5, self.part).await?;
        print(&search::line(&half));
        let most = driver.drive(throughput.rate * 0.8, self.part).await?;
        print(&search::line(&most));
        print("calibrating again");
        let after = calibrate(system, &self.args.dir, self.calibration).await?;
        let peak = footprint::memory(system)?;
        drop((driver, sources));
        let footprints = footprint::footprints(system, &self.binaries, &idle, &peak).await?;
        let (calibration, drift) = (before.mean(&after), before.drift(&after));
        let limit = Limit::of(&calibration, &cost);
        Ok(Report {
            before,
            after,
            calibration,
            drift,
            limit,
            throughput,
            cost,
            alone,
            half,
            most,
            steps,
            footprints,
        })
    }

    /// Short steps up to the first rate that the system does not keep up with.
    async fn climb(&self, driver: &Driver) -> Result<Vec<Outcome>> {
        search::climb(driver, self.args.from..=self.args.up_to, self.step, self.print).await
    }

    /// The highest rate that is held for the whole time, and the cost of an order at it.
    async fn hold(
        &self,
        driver: &Driver,
        sources: &Sources<'_>,
        steps: &[Outcome],
        duration: Duration,
    ) -> Result<(Outcome, Counters)> {
        let mut before = sources.read().await?;
        let mut at = async |rate: f64| {
            let outcome = driver.drive(rate, duration).await?;
            (self.print)(&search::line(&outcome));
            let after = sources.read().await?;
            let cost = after.per_order(&before, outcome.orders);
            before = after;
            anyhow::Ok((outcome, cost))
        };
        search::hold(steps, &mut at).await
    }
}
