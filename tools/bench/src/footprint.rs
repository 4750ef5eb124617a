//! The footprint of a service: memory, time to start, size of its program.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::System;
use procfs::process::Process;
use reqwest::Client;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::counters::services;

const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const READY_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Serialize)]
pub(super) struct Footprint {
    pub(super) service: &'static str,
    /// Resident, before any load, in MB (10^6 bytes).
    pub(super) idle_mb: f64,
    /// The highest resident memory so far.
    pub(super) peak_mb: f64,
    /// From starting the program to the first 200 of `/health/parts`, with the servers running.
    pub(super) ready_ms: f64,
    pub(super) binary_mb: f64,
}

/// Resident memory of each service, in MB: now, and the highest so far.
pub(super) fn memory(system: &System) -> Result<Vec<(f64, f64)>> {
    let of = |name| {
        let pid = system.services.pid(name).with_context(|| format!("{name} does not run"))?;
        let status = Process::new(pid)?.status()?;
        Ok((megabytes(status.vmrss)?, megabytes(status.vmhwm)?))
    };
    services().map(of).collect()
}

/// A size of /proc/PID/status (proc(5)), whose `kB` are 1,024 bytes.
fn megabytes(kib: Option<u64>) -> Result<f64> {
    Ok(kib.context("/proc does not tell the memory")? as f64 * 1024.0 / 1e6)
}

/// Restarts each service, and collects its footprint.
pub(super) async fn footprints(
    system: &mut System,
    binaries: &Path,
    idle: &[(f64, f64)],
    peak: &[(f64, f64)],
) -> Result<Vec<Footprint>> {
    let mut footprints = Vec::new();
    for ((service, (idle_mb, _)), (_, peak_mb)) in services().zip(idle).zip(peak) {
        let ready_ms = ready_ms(system, service).await?;
        let binary_mb = fs::metadata(binaries.join(service))?.len() as f64 / 1e6;
        footprints.push(Footprint { service, idle_mb: *idle_mb, peak_mb: *peak_mb, ready_ms, binary_mb });
    }
    Ok(footprints)
}

async fn ready_ms(system: &mut System, service: &str) -> Result<f64> {
    let url = format!("{}/health/parts", system.operations_url(service));
    system.services.stop(service).await?;
    let http = Client::new();
    let begun = Instant::now();
    system.services.resume(service)?;
    loop {
        if http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(begun.elapsed().as_secs_f64() * 1000.0);
        }
        if begun.elapsed() > READY_LIMIT {
            bail!("{service} is not ready after {READY_LIMIT:?}");
        }
        sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_units_of_1024_bytes() {
        assert_eq!(megabytes(Some(1000)).expect("a size"), 1.024);
        assert!(megabytes(None).is_err());
    }
}
