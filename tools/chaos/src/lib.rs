//! Chaos: the whole system under load while everything that can fail does, at random times that a seed determines; then,
//! at rest, an audit.
//!
//! The faults are one list, [`Fault`](faults::Fault). Those inside a process are failpoints that only this build has; all
//! others come from outside: signals, the servers' own tools, a proxy on every link, and message faults before every
//! queue.

pub mod faults;
mod inject;
pub mod message_faults;
mod recovery;
mod report;
mod stage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use devstack::{Signals, print};
use loadgen::{Accepted, Catalogue, Customers, LoadResult};
use messaging::dead_letters::{self, Which};
use messaging::jobs::operator;
use reqwest::Client;
use sqlx::{Connection, PgConnection};
use system::Service;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::faults::{Step, kinds};
use self::inject::Injector;
use self::recovery::Probe;
use self::report::Injected;
use self::stage::Stage;
pub use self::stage::run_service;
use audit::{Audit, Auditor, Recorded};

const CATALOGUE: Catalogue = Catalogue { prefix: "CHAOS", skus: 40, scarce: 4 };
/// How long a customer repeats a request that fails for now.
const CUSTOMER_PATIENCE: Duration = Duration::from_secs(60);
/// How long the system may take to come to rest after the last fault.
const REST_LIMIT: Duration = Duration::from_secs(180);
/// A violation across databases counts when it is still there after this time at rest.
const CONFIRM: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long a failpoint may take to be hit: other faults can keep every task away from it.
const PATIENCE: Duration = Duration::from_secs(3);
const PATIENCE_ALONE: Duration = Duration::from_secs(15);
/// Between the system's start and its first fault.
const WARM_UP: Duration = Duration::from_secs(2);

/// The arguments of `chaos`. Exit status 0 when every rule holds in the end, and every fault was injected and recovered
/// from.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long faults are injected
    #[arg(long, default_value_t = 5.0, conflicts_with = "matrix")]
    minutes: f64,
    /// Orders a second
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// The seed of all random choices; the same seed gives the same faults at the same times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The mean time between two faults, in seconds
    #[arg(long, default_value_t = 3.0)]
    every: f64,
    /// Only these kinds of faults, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(kinds()))]
    faults: Vec<String>,
    /// Every fault once, one after the other, instead of at random
    #[arg(long)]
    matrix: bool,
    /// The folder of data and logs [default: one that is removed after a successful run]
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub async fn run(args: Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let folder = devstack::temporary_folder()?;
    let dir = args.dir.clone().unwrap_or_else(|| folder.path().to_owned());
    let verdict = tokio::select! {
        verdict = run_all(&args, &dir) => verdict,
        _ = signals.next() => Err(anyhow!("interrupted")),
    };
    let well = matches!(verdict, Ok(true));
    if !well && args.dir.is_none() {
        print(&format!("data and logs are kept in {}", folder.keep().display()));
    }
    print(&format!("to repeat it: {}", repeat(&args)));
    Ok(if verdict? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The command that does the same again.
fn repeat(args: &Args) -> String {
    let mut command = format!("cargo run --release -p chaos -- --rate {}", args.rate);
    if args.matrix {
        command += " --matrix";
    } else {
        command += &format!(" --minutes {} --every {}", args.minutes, args.every);
    }
    command += &format!(" --seed {}", args.seed);
    if !args.faults.is_empty() {
        command += &format!(" --faults {}", args.faults.join(","));
    }
    command
}

/// The whole run; gives whether it succeeded.
async fn run_all(args: &Args, dir: &Path) -> Result<bool> {
    ensure!(args.rate > 0.0 && args.every > 0.0, "--rate and --every must be above 0");
    print("starting the system");
    let stage = Stage::start(dir, args.seed).await?;
    let customers = Customers::new(vec![stage.url(Service::Order)], CUSTOMER_PATIENCE)?;
    customers.seed_stock(&stage.url(Service::Inventory), &CATALOGUE).await?;
    let parts = |service: &Service| format!("{}/health/parts", stage.system.operations_url(service.as_str()));
    let probe = Probe {
        customers: Customers::new(vec![stage.url(Service::Order)], recovery::LIMIT)?,
        parts_urls: Service::ALL.iter().map(parts).collect(),
        http: Client::builder().timeout(Duration::from_secs(2)).build()?,
    };
    let patience = if args.matrix { PATIENCE_ALONE } else { PATIENCE };
    let mut injector = Injector::new(stage, args.rate, patience)?;
    let (orders, rate) = (loadgen::mixed(CATALOGUE, "chaos", args.seed), injector.rate.subscribe());
    let mut load = JoinSet::new();
    load.spawn(async move { loadgen::drive(&customers, orders, rate, || {}).await });
    sleep(WARM_UP).await;
    let start = Instant::now();
    let mut chaos = Chaos { injector: &mut injector, probe, start, begun: 0, injected: Vec::new() };
    if args.matrix {
        chaos.inject_one_by_one(faults::matrix(&args.faults)).await?;
    } else {
        let (run, every) =
            (Duration::from_secs_f64(args.minutes * 60.0), Duration::from_secs_f64(args.every));
        chaos.inject_as_planned(faults::plan(args.seed, run, every, &args.faults)).await?;
    }
    let injected = chaos.injected;
    injector.rate.send_replace(0.0);
    finish(injector, load, &injected).await
}

/// Waits for rest, audits, and prints the result.
async fn finish(
    injector: Injector,
    mut load: JoinSet<Result<LoadResult>>,
    injected: &[Injected],
) -> Result<bool> {
    print("the faults are over: waiting for rest");
    let over = Instant::now();
    let load = load.join_next().await.context("there was no load")???;
    let stage = injector.stage;
    let ended = tokio::time::timeout(REST_LIMIT, every_order_ends(&stage)).await;
    let ended = ended.unwrap_or_else(|_| bail!("not every order ended within {REST_LIMIT:?}"));
    let took = over.elapsed();
    let audit = audit(&stage, &load).await?;
    let unexpected = unexpected_dead_letters(&stage).await?;
    stage.system.stop().await?;

    audit::report::lines(&audit).iter().for_each(|line| print(line));
    print(&format!("\n{}\n", report::kinds(injected).trim_fmt()));
    report::answers(&load).iter().for_each(|line| print(line));
    match &ended {
        Ok(()) => print(&format!("every order ended {:.1} s after the last fault", took.as_secs_f64())),
        Err(error) => print(&format!("{error:#}")),
    }
    if let Some(first) = unexpected.first() {
        print(&format!("{} dead letters were lost or not injected, such as {first}", unexpected.len()));
    }
    let failed = injected.iter().filter(|injected| injected.recovery.is_err()).count();
    let well = ended.is_ok()
        && !audit.is_broken()
        && audit.under_way.is_empty()
        && failed == 0
        && unexpected.is_empty();
    print(&format!(
        "{}: {} faults, {} orders, {failed} not injected or not recovered from, {} rules broken",
        if well { "success" } else { "FAILURE" },
        injected.len(),
        load.accepted.len(),
        audit.broken().count()
    ));
    Ok(well)
}

async fn every_order_ends(stage: &Stage) -> Result<()> {
    let server = stage.system.postgres.superuser_url();
    let mut orders = PgConnection::connect(&format!("{server}/order")).await?;
    let mut payments = PgConnection::connect(&format!("{server}/payment")).await?;
    let open = "select count(*) from orders where status <> 'completed' and not (status = 'cancelled'
        and stock in ('rejected', 'released') and payment in ('declined', 'voided', 'refunded'))";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(&mut orders).await? > 0 {
        retry_parked_calls(&mut payments).await?;
        sleep(LOOK_INTERVAL).await;
    }
    for faults in stage.message_faults.values() {
        while !faults.is_empty().await? {
            sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

/// What an operator does once the card processor is well again.
async fn retry_parked_calls(payments: &mut PgConnection) -> Result<()> {
    for job in operator::list(payments, true, i64::MAX).await? {
        operator::retry(payments, job.id, "chaos", Some("the processor is well again")).await?;
    }
    Ok(())
}

/// Dead letters that were not injected, and injected poison that is not among them.
async fn unexpected_dead_letters(stage: &Stage) -> Result<Vec<String>> {
    let mut unexpected = Vec::new();
    let server = stage.system.postgres.superuser_url();
    for (service, faults) in &stage.message_faults {
        let mut conn = PgConnection::connect(&format!("{server}/{service}")).await?;
        let found = dead_letters::list(&mut conn, Which::DeadLetters).await?;
        let found: BTreeSet<_> = found.into_iter().filter_map(|dead_letter| dead_letter.message_id).collect();
        unexpected
            .extend(found.symmetric_difference(&faults.injected()).map(|id| format!("{service}: {id}")));
    }
    Ok(unexpected)
}

async fn audit(stage: &Stage, load: &LoadResult) -> Result<Audit> {
    let mut sources = stage.sources();
    sources.expected_dead_letters = stage.message_faults.values().map(|faults| faults.injected().len()).sum();
    let recorded =
        |order: &Accepted| Recorded { key: order.key.clone(), order_id: order.order_id.to_string() };
    sources.recorded = load.accepted.iter().map(recorded).collect();
    let auditor = Auditor::open(sources).await.context("the auditor")?;
    auditor.audit(REST_LIMIT, CONFIRM).await
}

struct Chaos<'a> {
    injector: &'a mut Injector,
    probe: Probe,
    start: Instant,
    begun: usize,
    injected: Vec<Injected>,
}

/// A fault, and how many had begun when it ended; `None` if others had not ended by then.
type Recovered = (Injected, Option<usize>);

impl Chaos<'_> {
    /// Each fault alone: the system recovers before the next.
    async fn inject_one_by_one(&mut self, steps: Vec<Step>) -> Result<()> {
        for step in steps {
            let recovery = match self.begin(&step).await {
                Ok(true) => {
                    sleep(step.lasts).await;
                    self.injector.end(step.fault).await?;
                    self.probe.recovery().await
                }
                Ok(false) => Err(anyhow!("the failpoint was not hit within {PATIENCE_ALONE:?}")),
                Err(error) => Err(error),
            };
            self.restart_ended()?;
            self.note((Injected { fault: step.fault, recovery: recovery.map(Some) }, Some(self.begun)));
        }
        Ok(())
    }

    /// Each fault at its time, whatever else goes on. A recovery is measured only if no other fault overlaps it.
    async fn inject_as_planned(&mut self, steps: Vec<Step>) -> Result<()> {
        let mut steps = steps.into_iter().peekable();
        let mut lasting: Vec<(Instant, Step)> = Vec::new();
        let mut recovering: JoinSet<Recovered> = JoinSet::new();
        while steps.peek().is_some() || !lasting.is_empty() || !recovering.is_empty() {
            self.restart_ended()?;
            lasting.sort_by_key(|(end, _)| *end);
            let next = steps.peek().map(|step| self.start + step.at);
            let end = lasting.first().map(|(end, _)| *end);
            let look = Instant::now() + LOOK_INTERVAL;
            tokio::select! {
                () = sleep_until(next.into_iter().chain(end).fold(look, Instant::min)) => {}
                Some(recovered) = recovering.join_next() => self.note(recovered?),
            }
            if end.is_some_and(|end| end <= Instant::now()) {
                let (_, step) = lasting.remove(0);
                self.injector.end(step.fault).await?;
                self.recover(&step, lasting.is_empty(), &mut recovering);
            } else if let Some(step) = steps.next_if(|step| self.start + step.at <= Instant::now()) {
                match self.begin(&step).await {
                    Err(error) => {
                        self.note((Injected { fault: step.fault, recovery: Err(error) }, None));
                    }
                    Ok(false) => print("            the failpoint was not hit"),
                    Ok(true) if step.lasts.is_zero() => {
                        self.recover(&step, lasting.is_empty(), &mut recovering);
                    }
                    Ok(true) => lasting.push((Instant::now() + step.lasts, step)),
                }
            }
        }
        Ok(())
    }

    async fn begin(&mut self, step: &Step) -> Result<bool> {
        self.begun += 1;
        let lasts = match step.lasts {
            Duration::ZERO => String::new(),
            lasts => format!(", for {:.1} s", lasts.as_secs_f64()),
        };
        print(&format!("{:8.1} s  {}{lasts}", self.start.elapsed().as_secs_f64(), step.fault));
        self.injector.begin(step.fault).await
    }

    fn recover(&self, step: &Step, alone: bool, recovering: &mut JoinSet<Recovered>) {
        let (probe, fault) = (self.probe.clone(), step.fault);
        let begun = alone.then_some(self.begun);
        recovering.spawn(async move {
            let recovery = probe.recovery().await.map(Some);
            (Injected { fault, recovery }, begun)
        });
    }

    fn note(&mut self, (mut injected, begun): Recovered) {
        let at = self.start.elapsed().as_secs_f64();
        if begun != Some(self.begun) && injected.recovery.is_ok() {
            injected.recovery = Ok(None);
        }
        let fault = injected.fault;
        match &injected.recovery {
            Ok(Some(took)) => {
                print(&format!("{at:8.1} s      recovered in {} ms: {fault}", took.as_millis()));
            }
            Ok(None) => {}
            Err(error) => print(&format!("{at:8.1} s      NOT RECOVERED: {fault}: {error:#}")),
        }
        self.injected.push(injected);
    }

    /// Restarts what ended by itself, as a container engine would.
    fn restart_ended(&mut self) -> Result<()> {
        for (name, status) in self.injector.stage.system.services.ended()? {
            if !inject::is_replica(&name) {
                print(&format!("            {name} ended ({status}): started again"));
                self.injector.stage.system.services.resume(&name)?;
            }
        }
        Ok(())
    }
}
