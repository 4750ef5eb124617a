//! The results of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use super::faults::Fault;
use loadgen::{LoadResult, percentile};

#[derive(Debug)]
pub(super) struct Injected {
    pub(super) fault: Fault,
    /// How long the recovery took, unless another fault was in its way; or why the fault could not be injected, or the
    /// system did not recover.
    pub(super) recovery: Result<Option<Duration>>,
}

/// A row per kind of fault: how many, and how long the recoveries took.
pub(super) fn kinds(injected: &[Injected]) -> Table {
    let mut kinds: BTreeMap<&str, (usize, Vec<Duration>)> = BTreeMap::new();
    for injected in injected {
        let (count, recoveries) = kinds.entry(injected.fault.kind()).or_default();
        *count += 1;
        recoveries.extend(injected.recovery.iter().flatten());
    }
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["fault", "count", "measured", "p50 ms", "p99 ms", "max ms"]);
    for (kind, (count, mut recoveries)) in kinds {
        recoveries.sort();
        let mut row = vec![kind.to_owned(), count.to_string(), recoveries.len().to_string()];
        row.extend([50, 99, 100].map(|percent| {
            percentile(&recoveries, percent)
                .map_or_else(|| "-".to_owned(), |took| took.as_millis().to_string())
        }));
        table.add_row(row);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

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
    fn kinds_without_a_measured_recovery_are_counted() {
        let injected = [
            Injected { fault: Fault::Burst, recovery: Ok(Some(Duration::from_millis(7))) },
            Injected { fault: Fault::Burst, recovery: Ok(None) },
            Injected { fault: Fault::BrokerKill, recovery: Err(anyhow::anyhow!("no")) },
        ];
        let table = kinds(&injected).to_string();
        let lines: Vec<_> = table.lines().collect();
        let words = |line: &str| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        assert_eq!(words(lines[1]), ["broker-kill", "1", "0", "-", "-", "-"]);
        assert_eq!(words(lines[2]), ["burst", "2", "1", "7", "7", "7"]);
    }
}
