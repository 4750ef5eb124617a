//! The service binaries as child processes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::Client;
use rustix::process::Signal;

use crate::process::Process;

/// A service promises to end within 10 s of SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(12);

#[derive(Debug, Clone)]
pub struct Service {
    /// What it is called here; two replicas of one service need two names.
    pub name: String,
    pub binary: PathBuf,
    pub listen: SocketAddr,
    /// Where it serves health and metrics.
    pub operations: SocketAddr,
    /// Its configuration, beside where it listens. A `HTTP_SHUTDOWN_DELAY` in it replaces the one of 0 s. It inherits nothing.
    pub environment: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Services {
    dir: PathBuf,
    client: Client,
    running: BTreeMap<String, (Service, Process)>,
}

impl Services {
    /// None yet; each will write its log to `<dir>/<name>.log`.
    pub fn new(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let client = Client::builder().timeout(Duration::from_secs(2)).build()?;
        Ok(Self { dir: dir.to_owned(), client, running: BTreeMap::new() })
    }

    /// Starts `service` and does not wait for it. One of the same name is stopped hard first.
    pub fn start(&mut self, service: Service) -> Result<()> {
        self.running.remove(&service.name);
        let mut command = Command::new(&service.binary);
        command
            .current_dir(&self.dir)
            // A DATABASE_URL of the caller must not reach a service that was given none.
            .env_clear()
            .env("HTTP_LISTEN", service.listen.to_string())
            .env("OPERATIONS_LISTEN", service.operations.to_string())
            // No balancer stands before it that must notice its stop.
            .env("HTTP_SHUTDOWN_DELAY", "0ms")
            .envs(service.environment.iter().map(|(name, value)| (name, value)));
        let log = self.dir.join(format!("{}.log", service.name));
        let process = Process::start(&service.name, command, &log, Signal::TERM)?;
        self.running.insert(service.name.clone(), (service, process));
        Ok(())
    }

    /// Waits until every service answers 200 to `/health/parts`. Fails when one ends, or a part is missing after `limit`; the
    /// message quotes its log.
    pub async fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        for (service, process) in self.running.values_mut() {
            let url = format!("http://{}/health/parts", service.operations);
            let client = &self.client;
            let ready =
                async || client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
            process.wait_until(limit, ready).await?;
        }
        Ok(())
    }

    pub fn pid(&self, name: &str) -> Option<i32> {
        Some(self.running.get(name)?.1.pid())
    }

    pub fn process(&mut self, name: &str) -> Result<&mut Process> {
        let (_, process) =
            self.running.get_mut(name).with_context(|| format!("no service {name} was started"))?;
        Ok(process)
    }

    /// Stops the service gently; tells whether it ended by itself with exit code 0.
    pub async fn stop(&mut self, name: &str) -> Result<bool> {
        Ok(self.process(name)?.stop(STOP_LIMIT).await?.success())
    }

    /// Starts the service again after a kill or a stop, as it was started first.
    pub fn resume(&mut self, name: &str) -> Result<()> {
        let (service, _) =
            self.running.get(name).with_context(|| format!("no service {name} was started"))?;
        self.start(service.clone())
    }

    /// The services that ended, asked or not, with how they ended.
    pub fn ended(&mut self) -> Result<Vec<(String, ExitStatus)>> {
        let running = self.running.iter_mut();
        let ended =
            running.map(|(name, (_, process))| Ok(process.exited()?.map(|status| (name.clone(), status))));
        ended.filter_map(Result::transpose).collect()
    }

    /// Stops all of them at once and waits for the last.
    pub async fn stop_all(&mut self) -> Result<()> {
        for (_, process) in self.running.values_mut() {
            process.signal(Signal::TERM)?;
        }
        for (_, mut process) in std::mem::take(&mut self.running).into_values() {
            process.stop(STOP_LIMIT).await?;
        }
        Ok(())
    }
}
