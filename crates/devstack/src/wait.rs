//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::Process;

/// Between two looks at a condition.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `ready` says so. Fails when the process ends before that, or after `limit`; the
/// message then names the log and quotes its last lines.
pub(crate) async fn until_ready(
    process: &mut Process,
    limit: Duration,
    mut ready: impl AsyncFnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = process.exited()? {
            bail!("{} ended while starting ({status}){}", process.name(), last_lines(process));
        }
        if ready().await {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{} was not ready after {limit:?}{}", process.name(), last_lines(process));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn last_lines(process: &Process) -> String {
    let text = std::fs::read_to_string(process.log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(5)..].join("\n  ");
    format!("; {} ends with:\n  {tail}", process.log().display())
}
