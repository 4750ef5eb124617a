//! What a run came to, in tables.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::faults::Fault;
use loadgen::{LoadResult, percentile};

/// A fault that happened.
#[derive(Debug)]
pub(super) struct Happened {
    /// Which.
    pub(super) fault: Fault,
    /// How long it took until all was well again, where no other fault was in the way; or why it never was, or could
    /// not be brought about.
    pub(super) recovery: Result<Option<Duration>>,
}

/// A line per kind of fault: how many, and how long the recovery took.
pub(super) fn kinds(happened: &[Happened]) -> Vec<String> {
    let mut kinds: BTreeMap<&str, (usize, Vec<Duration>)> = BTreeMap::new();
    for happened in happened {
        let (count, recoveries) = kinds.entry(happened.fault.kind()).or_default();
        *count += 1;
        recoveries.extend(happened.recovery.iter().flatten());
    }
    let head = format!(
        "{:<22}{:>7}{:>10}{:>12}{:>12}{:>12}",
        "fault", "count", "measured", "p50 ms", "p99 ms", "max ms"
    );
    let mut lines = vec![String::new(), head];
    for (kind, (count, mut recoveries)) in kinds {
        recoveries.sort();
        let milliseconds = |percent| {
            percentile(&recoveries, percent)
                .map_or_else(|| "-".to_owned(), |took| took.as_millis().to_string())
        };
        let (p50, p99, max) = (milliseconds(50), milliseconds(99), milliseconds(100));
        lines.push(format!("{kind:<22}{count:>7}{:>10}{p50:>12}{p99:>12}{max:>12}", recoveries.len()));
    }
    lines.push(String::new());
    lines
}

/// How the customers were answered.
pub(super) fn answers(load: &LoadResult) -> Vec<String> {
    let (accepted, cancelled) = (load.accepted.len(), load.cancelled);
    let mut lines =
        vec![format!("{accepted:>8}  answered 202, {cancelled} of them cancelled by the customer")];
    let refused = |(why, count)| format!("{count:>8}  {why}, after 60 s of attempts");
    lines.extend(load.refused.iter().map(refused));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_also_where_nothing_was_measured() {
        let happened = [
            Happened { fault: Fault::Burst, recovery: Ok(Some(Duration::from_millis(7))) },
            Happened { fault: Fault::Burst, recovery: Ok(None) },
            Happened { fault: Fault::BrokerKill, recovery: Err(anyhow::anyhow!("no")) },
        ];
        let lines = kinds(&happened);
        let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[2]), ["broker-kill", "1", "0", "-", "-", "-"]);
        assert_eq!(words(&lines[3]), ["burst", "2", "1", "7", "7", "7"]);
    }
}
