//! The results, as tables and as JSON.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
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

/// Writes a value to a file, and gives its path back.
pub(super) fn write_json(file: &Path, value: &Value) -> Result<PathBuf> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(file, format!("{value:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file.to_owned())
}

impl Report {
    fn ratio(&self) -> f64 {
        self.throughput.rate / self.limit.orders_per_second
    }

    /// How many times the shortest possible confirmation.
    fn times_shortest(&self, ms: f64) -> f64 {
        ms / self.calibration.shortest_confirmation_ms()
    }

    fn to_json(&self) -> Result<Value> {
        let mut value = serde_json::to_value(self)?;
        value["ratio"] = json!(self.ratio());
        value["noisy"] = json!(self.drift > NOISE);
        value["shortest_confirmation_ms"] = json!(self.calibration.shortest_confirmation_ms());
        value["date"] = json!(runtime::clock::now());
        value["cores"] = json!(std::thread::available_parallelism()?.get());
        Ok(value)
    }

    pub(super) fn write(&self, file: &Path) -> Result<PathBuf> {
        write_json(&file.with_extension("json"), &self.to_json()?)
    }

    pub(super) fn print(&self, print: &impl Fn(&str)) {
        self.print_limit(print);
        let mut latencies =
            table(["latency in ms", "p50", "p90", "p99", "max", "p50 / shortest", "p99 / shortest"]);
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
                    row.extend([p50_ms, p99_ms].map(|ms| format!("{:.1}", self.times_shortest(*ms))));
                }
                latencies.add_row(row);
            }
        }
        print(&latencies.trim_fmt());
        self.print_costs(print);
    }

    fn print_limit(&self, print: &impl Fn(&str)) {
        let (alone, limit) = (&self.calibration, &self.limit);
        print("");
        print(&format!(
            "alone: {:.0} commits/s of 1, {:.0} of 20, {:.0} messages/s, {:.0} requests/s, {:.0} mails/s, fdatasync {:.2} ms",
            alone.commits_of_1_per_second,
            alone.commits_of_20_per_second,
            alone.queue_per_second,
            alone.http_per_second,
            alone.smtp_per_second,
            alone.fdatasync_ms
        ));
        print(&format!(
            "one order takes at least {:.2} ms of commits, {:.2} of deliveries, {:.2} of requests, {:.2} of mails",
            limit.commits_ms, limit.deliveries_ms, limit.requests_ms, limit.mails_ms
        ));
        print(&format!(
            "X {:.0} orders/s, L {:.0} orders/s, X / L {:.2}",
            self.throughput.rate,
            limit.orders_per_second,
            self.ratio()
        ));
        if self.drift > NOISE {
            self.print_noise(print);
        }
    }

    fn print_noise(&self, print: &impl Fn(&str)) {
        let limit = |alone| Limit::of(alone, &self.cost).orders_per_second;
        let (before, after) = (&self.before, &self.after);
        print(&format!(
            "NOISY: something else runs on this machine. The calibrations before and after differ by up to {:.0} %, \
             L is {:.0} and {:.0} orders/s by them, and the shortest confirmation {:.1} and {:.1} ms",
            self.drift * 100.0,
            limit(before),
            limit(after),
            before.shortest_confirmation_ms(),
            after.shortest_confirmation_ms()
        ));
    }

    fn print_costs(&self, print: &impl Fn(&str)) {
        let cost = &self.cost;
        print("");
        print(&format!(
            "per order: {:.1} writing commits ({:.1} transactions), {:.1} statements, {:.0} bytes of WAL, {:.1} deliveries, \
             {:.1} HTTP requests, {:.1} mails",
            cost.commits,
            cost.transactions,
            cost.statements,
            cost.wal_bytes,
            cost.deliveries,
            cost.requests,
            cost.mails
        ));
        let cpu: Vec<_> = cost.cpu_ms.iter().map(|(name, ms)| format!("{name} {ms:.2}")).collect();
        print(&format!("CPU ms per order: {:.2} = {}", cost.total_cpu_ms(), cpu.join(" + ")));
        let mut footprints = table(["service", "idle MB", "peak MB", "ready ms", "binary MB"]);
        for it in &self.footprints {
            let mut row = vec![it.service.to_owned()];
            row.extend(
                [it.idle_mb, it.peak_mb, it.ready_ms, it.binary_mb].map(|value| format!("{value:.1}")),
            );
            footprints.add_row(row);
        }
        print("");
        print(&footprints.trim_fmt());
    }
}

/// A table without lines, whose first column is text and whose others are numbers.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
