//! The results, as tables and as JSON.

use std::fmt;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use super::calibrate::Calibration;
use super::counters::Counters;
use super::footprint::Footprint;
use super::limit::Limit;
use super::outcome::{Latency, Outcome};

/// A run whose calibrations differ by more is noisy.
const NOISE: f64 = 0.15;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) before: Calibration,
    pub(super) after: Calibration,
    /// The mean of both, which everything is compared with.
    pub(super) calibration: Calibration,
    /// The largest relative difference between both.
    pub(super) drift: f64,
    pub(super) limit: Limit,
    /// The load at the highest rate that was held.
    pub(super) throughput: Outcome,
    /// What an order took in it.
    pub(super) cost: Counters,
    pub(super) alone: Outcome,
    /// At 50 % of the highest rate.
    pub(super) half: Outcome,
    /// At 80 % of it.
    pub(super) most: Outcome,
    pub(super) steps: Vec<Outcome>,
    pub(super) footprints: Vec<Footprint>,
}

impl Report {
    fn ratio(&self) -> f64 {
        self.throughput.rate / self.limit.orders_per_second
    }

    pub(super) fn to_json(&self) -> Result<Value> {
        let mut value = serde_json::to_value(self)?;
        value["ratio"] = json!(self.ratio());
        value["noisy"] = json!(self.drift > NOISE);
        value["shortest_confirmation_ms"] = json!(self.calibration.shortest_confirmation_ms());
        value["date"] = json!(runtime::clock::now());
        value["cores"] = json!(std::thread::available_parallelism()?.get());
        Ok(value)
    }

    fn latencies(&self) -> Table {
        let header = ["latency in ms", "p50", "p90", "p99", "max", "p50 / shortest", "p99 / shortest"];
        let mut latencies = table(header);
        for (name, outcome) in [
            ("one in flight", &self.alone),
            ("at 50 %", &self.half),
            ("at 80 %", &self.most),
            ("at 100 %", &self.throughput),
        ] {
            let held = if outcome.kept_up() { "" } else { ", not held" };
            for (what, latency) in [("confirmed", &outcome.confirmed), ("completed", &outcome.completed)] {
                let Latency { p50_ms, p90_ms, p99_ms, max_ms } = latency;
                let mut row = vec![format!("{name}{held}: {what}")];
                row.extend([p50_ms, p90_ms, p99_ms, max_ms].map(|ms| format!("{ms:.1}")));
                if what == "confirmed" {
                    let shortest = self.calibration.shortest_confirmation_ms();
                    row.extend([p50_ms, p99_ms].map(|ms| format!("{:.1}", ms / shortest)));
                }
                latencies.add_row(row);
            }
        }
        latencies
    }

    fn footprints(&self) -> Table {
        let mut footprints = table(["service", "idle MB", "peak MB", "ready ms", "binary MB"]);
        for Footprint { service, idle_mb, peak_mb, ready_ms, binary_mb } in &self.footprints {
            let values = [idle_mb, peak_mb, ready_ms, binary_mb].map(|value| format!("{value:.1}"));
            footprints.add_row([&[(*service).to_owned()], &values[..]].concat());
        }
        footprints
    }

    fn fmt_noise(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, after] = [&self.before, &self.after]
            .map(|alone| (Limit::of(alone, &self.cost).orders_per_second, alone.shortest_confirmation_ms()));
        writeln!(
            f,
            "NOISY: something else runs on this machine. The calibrations before and after differ by up to {:.0} %, \
             L is {:.0} and {:.0} orders/s by them, and the shortest confirmation {:.1} and {:.1} ms",
            self.drift * 100.0,
            before.0,
            after.0,
            before.1,
            after.1
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calibration { commits_of_1_per_second: of_1, commits_of_20_per_second: of_20, .. } =
            self.calibration;
        let Calibration { queue_per_second, http_per_second, smtp_per_second, fdatasync_ms, .. } =
            self.calibration;
        writeln!(
            f,
            "\nalone: {of_1:.0} commits/s of 1, {of_20:.0} of 20, {queue_per_second:.0} messages/s, \
             {http_per_second:.0} requests/s, {smtp_per_second:.0} mails/s, fdatasync {fdatasync_ms:.2} ms",
        )?;
        let Limit { commits_ms, deliveries_ms, requests_ms, mails_ms, orders_per_second } = self.limit;
        writeln!(
            f,
            "one order takes at least {commits_ms:.2} ms of commits, {deliveries_ms:.2} of deliveries, \
             {requests_ms:.2} of requests, {mails_ms:.2} of mails"
        )?;
        let (rate, ratio) = (self.throughput.rate, self.ratio());
        writeln!(f, "X {rate:.0} orders/s, L {orders_per_second:.0} orders/s, X / L {ratio:.2}")?;
        if self.drift > NOISE {
            self.fmt_noise(f)?;
        }
        let Counters { commits, transactions, statements, wal_bytes, .. } = self.cost;
        let Counters { deliveries, requests, mails, .. } = self.cost;
        writeln!(
            f,
            "{}\n\nper order: {commits:.1} writing commits ({transactions:.1} transactions), {statements:.1} statements, \
             {wal_bytes:.0} bytes of WAL, {deliveries:.1} deliveries, {requests:.1} HTTP requests, {mails:.1} mails",
            self.latencies().trim_fmt()
        )?;
        let cpu: Vec<_> = self.cost.cpu_ms.iter().map(|(name, ms)| format!("{name} {ms:.2}")).collect();
        writeln!(f, "CPU ms per order: {:.2} = {}\n", self.cost.total_cpu_ms(), cpu.join(" + "))?;
        write!(f, "{}", self.footprints().trim_fmt())
    }
}

/// A table without lines, whose first column is text and whose others are numbers.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
