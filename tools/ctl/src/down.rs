//! `sagactl down`: stops what `sagactl up --detach` started.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use devstack::print;
use rustix::process::{Signal, kill_process};

use crate::{supervisor, up};

/// More than the services' 12 s and the servers' stops together.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of the system's data and logs [default: as for `sagactl up`]
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let dir = up::folder(args.dir)?;
    let Some(pid) = supervisor::holder(&dir) else {
        print("nothing is running");
        return Ok(ExitCode::SUCCESS);
    };
    let begun = Instant::now();
    kill_process(pid, Signal::TERM)?;
    while supervisor::holder(&dir).is_some() {
        ensure!(
            begun.elapsed() < LIMIT,
            "process {pid} has not ended after {LIMIT:?}; see {}",
            up::log(&dir).display()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    print(&format!("stopped in {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}
