//! `sagactl kill`: kills one part of the system that `sagactl up` runs, as a crash would.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use devstack::print;
use procfs::process::all_processes;
use rustix::process::{Pid, Signal, kill_process};
use system::programs;

use crate::{supervisor, up};

/// The servers by their names here, with the programs that they are.
const SERVERS: [(&str, &str); 2] = [("postgres", "postgres"), ("rabbitmq", "beam.smp")];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A service or a server
    #[arg(value_name = "PART", value_parser = parts())]
    part: String,
    /// The folder of the system's data and logs [default: as for `sagactl up`]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn parts() -> PossibleValuesParser {
    let servers = SERVERS.iter().map(|(name, _)| *name);
    PossibleValuesParser::new(programs().map(|program| program.name).chain(servers))
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let dir = up::folder(args.dir)?;
    let supervisor = supervisor::holder(&dir).with_context(|| {
        format!("nothing runs natively in {}: start it with scripts/up --native", dir.display())
    })?;
    let server = SERVERS.iter().find(|(name, _)| *name == args.part);
    let program = server.map_or(args.part.as_str(), |(_, program)| program);
    let pid = child(supervisor, program)?
        .with_context(|| format!("{} does not run at the moment: try again in a second", args.part))?;
    kill_process(pid, Signal::KILL)?;
    print(&format!("killed {} (process {pid}); it is started again within seconds", args.part));
    Ok(ExitCode::SUCCESS)
}

/// The child of `parent` that is `program`. Programs of other parents have the same names.
fn child(parent: Pid, program: &str) -> Result<Option<Pid>> {
    for process in all_processes()?.flatten() {
        // What ends meanwhile is not looked for.
        let (Ok(stat), Ok(command)) = (process.stat(), process.cmdline()) else { continue };
        let name = command.first().and_then(|path| Path::new(path).file_name());
        if stat.ppid == parent.as_raw_pid() && name.is_some_and(|name| name == program) {
            return Ok(Pid::from_raw(stat.pid));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn only_a_child_of_the_supervisor_is_found() {
        let own = Pid::from_raw(std::process::id().cast_signed()).expect("an id");
        // The shell stays, since a command follows, and `cat` waits for its input.
        let mut shell =
            Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().expect("it runs");
        let shell_pid = Pid::from_child(&shell);
        let deadline = Instant::now() + Duration::from_secs(10);
        while child(shell_pid, "cat").expect("read").is_none() {
            assert!(Instant::now() < deadline, "the shell starts no cat");
            std::thread::yield_now();
        }
        assert_eq!(child(own, "cat").expect("read"), None);
        assert_eq!(child(own, "sh").expect("read"), Some(shell_pid));
        drop(shell.stdin.take());
        shell.wait().expect("ended");
    }
}
