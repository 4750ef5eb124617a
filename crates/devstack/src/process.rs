//! One child process: started with its output in a log file, told to stop, and never left behind.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a dropped process gets between its stop signal and SIGKILL.
const DROP_GRACE: Duration = Duration::from_secs(3);

/// A child process in the process group of its child_guard, so that Ctrl-C at a terminal reaches only the
/// program that started it, which then stops its children in order.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    stop_signal: Signal,
    log: PathBuf,
    child_guard: ChildGuard,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`. `stop_signal` is what asks it to end.
    pub fn start(name: &str, mut command: Command, log: &Path, stop_signal: Signal) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        let child_guard = ChildGuard::start(stop_signal)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(child_guard.group.as_raw_nonzero().get())
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let pid = Pid::from_child(&child);
        let mut process =
            Self { name: name.to_owned(), child_guard, child, pid, stop_signal, log: log.to_owned() };
        process.child_guard.hold(pid)?;
        Ok(process)
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The exit status when the process has ended, by itself or not.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends `signal`; a process that has ended already is not an error.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_none() {
            kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))?;
        }
        Ok(())
    }

    /// Asks the process to end, and kills it when it has not ended within `grace`.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.stop_with(self.stop_signal, grace).await
    }

    /// Like [`Process::stop`], with another signal.
    pub(crate) async fn stop_with(&mut self, signal: Signal, grace: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.kill()
    }

    /// Waits until `ready` says so. Fails when the process ends before that, or after `limit`; the message then names
    /// the log and quotes its last lines.
    pub(crate) async fn wait_until(
        &mut self,
        limit: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited()? {
                bail!("{} ended while starting ({status}){}", self.name, self.last_lines());
            }
            if ready().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} was not ready after {limit:?}{}", self.name, self.last_lines());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n  ");
        format!("; {} ends with:\n  {tail}", self.log.display())
    }

    /// Kills the process and its group at once, as a crash would.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.kill_group();
        Ok(self.child.wait()?)
    }

    fn kill_group(&mut self) {
        // The group is the child_guard's, which is reaped last: its id belongs to nobody else.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(self.child_guard.group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(self.stop_signal);
        let deadline = Instant::now() + DROP_GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        self.kill_group();
        let _ = self.child.wait();
    }
}

/// A tiny shell that waits for the end of its input, which comes when this program dies, however it
/// dies, and then ends its process group. Without it a SIGKILL here would leave servers running for
/// ever. It is there before the process that it holds, so that there is no moment without it.
#[derive(Debug)]
struct ChildGuard {
    shell: Child,
    group: Pid,
}

impl ChildGuard {
    fn start(stop_signal: Signal) -> Result<Self> {
        const SCRIPT: &str = r#"
            if read -r pid; then read -r _; kill -s "$1" "$pid"; sleep 5; fi
            kill -s KILL 0"#;
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "child_guard", &stop_signal.as_raw().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let group = Pid::from_child(&shell);
        Ok(Self { shell, group })
    }

    /// Tells it which process is to be asked to end before the whole group is killed.
    fn hold(&mut self, pid: Pid) -> Result<()> {
        let input = self.shell.stdin.as_mut().context("the child_guard has no input")?;
        writeln!(input, "{}", pid.as_raw_nonzero()).context("the child_guard is gone")
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The first program of that name in the folders of `path`, a list like that of the variable PATH.
pub(crate) fn find_program(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
