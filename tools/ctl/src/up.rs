//! `sagactl up`: the whole system on this machine, in the foreground or with a supervisor behind it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devstack::{Signals, Storage, System, SystemOptions, SystemPorts, print, print_error};

use crate::supervisor::{self, Claim};

/// How often it is checked whether a part has ended.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Return when every service is ready, and leave the system running
    #[arg(long)]
    detach: bool,
    /// Start with empty data
    #[arg(long)]
    fresh: bool,
    /// The folder of data and logs [default: .stack; for root /var/tmp/order-saga]
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let dir = folder(args.dir)?;
    if args.detach { detach(&dir, args.fresh).await } else { hold(&dir, args.fresh).await }
}

/// The folder of the system: the one given, or the usual one.
pub(crate) fn folder(given: Option<PathBuf>) -> Result<PathBuf> {
    let current = env::current_dir()?;
    Ok(given.map_or_else(|| devstack::default_folder(&current), |dir| current.join(dir)))
}

/// The log of the supervisor behind `--detach`.
pub(crate) fn log(dir: &Path) -> PathBuf {
    dir.join("up.log")
}

/// Starts the system and holds it until a signal comes.
async fn hold(dir: &Path, fresh: bool) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let claim = Claim::take(dir)?;
    let options = SystemOptions {
        dir: dir.to_owned(),
        ports: SystemPorts::standard(),
        binaries: devstack::own_folder()?,
        storage: Storage::Kept,
        environment: passed_on(),
        proxied: false,
        configure: |_, _| {},
    };
    options.ports.require_free()?;
    if fresh {
        empty(dir)?;
    }
    let begun = Instant::now();
    let starting = System::start(options, print_step);
    let mut system = tokio::select! {
        started = starting => started?,
        _ = signals.next() => return Ok(ExitCode::FAILURE),
    };
    print(&greeting(&system, dir, begun.elapsed()));
    claim.ready()?;
    tokio::select! {
        () = supervise(&mut system) => {}
        _ = signals.next() => {}
    }
    print("stopping");
    system.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// Starts again what ends by itself, as a container engine would, for ever.
async fn supervise(system: &mut System) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match system.revive().await {
            Ok(revived) => revived.iter().for_each(|part| print(&format!("started again: {part}"))),
            Err(error) => print_error(&error),
        }
    }
}

/// Starts this command again in a session of its own, so that it outlives the terminal, and shows its
/// output until the system is ready.
async fn detach(dir: &Path, fresh: bool) -> Result<ExitCode> {
    supervisor::require_free(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let log = log(dir);
    let mut supervisor = start_supervisor(dir, fresh, &log)?;
    let mut shown = 0;
    loop {
        let ready = supervisor::is_ready(dir);
        let ended = supervisor.try_wait()?;
        let text = fs::read_to_string(&log)?;
        // Whole lines only: the rest of one may still be on its way.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[shown..whole].lines().for_each(print);
        shown = whole;
        if ended.is_some() {
            return Ok(ExitCode::FAILURE);
        }
        if ready {
            print("it runs in the background; scripts/down stops it");
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn start_supervisor(dir: &Path, fresh: bool, log: &Path) -> Result<Child> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new("setsid");
    command.arg(env::current_exe()?).args(["up", "--dir"]).arg(dir);
    if fresh {
        command.arg("--fresh");
    }
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    command.spawn().context("cannot run setsid")
}

/// Variables that are passed on to every service; all others are the system's own.
fn passed_on() -> Vec<(String, String)> {
    ["LOG_FORMAT", "LOG_FILTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "RUST_BACKTRACE"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), env::var(name).ok()?)))
        .collect()
}

/// Removes the data of an earlier run, and nothing else that may be in the folder.
fn empty(dir: &Path) -> Result<()> {
    for name in ["postgres", "rabbitmq", "mail", "services"] {
        let path = dir.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn print_step(what: &str, took: Duration) {
    print(&format!("  {what:<10} ready after {:>5.1} s", took.as_secs_f64()));
}

fn greeting(system: &System, dir: &Path, took: Duration) -> String {
    format!(
        "everything is ready after {:.1} s\n\n{}RabbitMQ's page: {}\nmails and logs: {}",
        took.as_secs_f64(),
        ctl::generate::welcome(),
        system.rabbitmq.admin_management_url(),
        dir.display()
    )
}
