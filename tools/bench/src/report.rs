//! What was measured, for people and for programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::calibrate::Calibration;
use super::counters::PerOrder;
use super::footprint::Footprint;
use super::limit::Limit;
use super::outcome::{Latency, Outcome};
use super::plot;

/// Two calibrations that differ by more make the run a noisy one.
const NOISE: f64 = 0.15;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) before: Calibration,
    pub(super) after: Calibration,
    /// The middle between both, which everything is compared with.
    pub(super) calibration: Calibration,
    /// How far both are apart, as a part.
    pub(super) drift: f64,
    pub(super) limit: Limit,
    /// The load at the highest rate that was held.
    pub(super) throughput: Outcome,
    /// What an order took in it.
    pub(super) cost: PerOrder,
    pub(super) alone: Outcome,
    /// At 50 % of the highest rate.
    pub(super) half: Outcome,
    /// At 80 % of it.
    pub(super) most: Outcome,
    /// The search for it.
    pub(super) steps: Vec<Outcome>,
    pub(super) footprints: Vec<Footprint>,
}

/// Where the results are.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) json: PathBuf,
    pub(super) plot: PathBuf,
}

/// Writes a value where it is to be, and gives its path back.
pub(super) fn write_json(file: &Path, value: &Value) -> Result<PathBuf> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(file, format!("{value:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file.to_owned())
}

impl Report {
    /// X / L.
    fn ratio(&self) -> f64 {
        self.throughput.rate / self.limit.orders_per_second
    }

    /// So many times the shortest way to a confirmation.
    fn times(&self, ms: f64) -> f64 {
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

    /// Writes FILE.json and FILE.svg.
    pub(super) fn write(&self, file: &Path) -> Result<Files> {
        let files = Files { json: file.with_extension("json"), plot: file.with_extension("svg") };
        write_json(&files.json, &self.to_json()?)?;
        let mut points = vec![&self.alone, &self.half, &self.most, &self.throughput];
        points.extend(self.steps.iter().filter(|step| step.kept_up()));
        plot::write(&files.plot, points)?;
        Ok(files)
    }

    /// The short table.
    pub(super) fn tell(&self, say: &impl Fn(&str)) {
        self.tell_limit(say);
        say("");
        let tell = |name: &str, latency: &Latency, times: bool| {
            let Latency { p50_ms, p90_ms, p99_ms, max_ms } = latency;
            let compared = if times {
                format!(
                    "  p50 {:.1} and p99 {:.1} times the shortest way",
                    self.times(*p50_ms),
                    self.times(*p99_ms)
                )
            } else {
                String::new()
            };
            say(&format!("{name:<32}{p50_ms:>9.1}{p90_ms:>9.1}{p99_ms:>9.1}{max_ms:>9.1}{compared}"));
        };
        say(&format!("{:<32}{:>9}{:>9}{:>9}{:>9}", "latency in ms", "p50", "p90", "p99", "max"));
        for (name, outcome) in [
            ("one in flight", &self.alone),
            ("at 50 %", &self.half),
            ("at 80 %", &self.most),
            ("at 100 %", &self.throughput),
        ] {
            let held = if outcome.kept_up() { "" } else { ", not held" };
            tell(&format!("{name}{held}: confirmed"), &outcome.confirmed, true);
            tell(&format!("{name}{held}: completed"), &outcome.completed, false);
        }
        self.tell_costs(say);
    }

    fn tell_limit(&self, say: &impl Fn(&str)) {
        let (alone, limit) = (&self.calibration, &self.limit);
        say("");
        say(&format!(
            "alone: {:.0} commits/s of 1, {:.0} of 20, {:.0} messages/s, {:.0} requests/s, {:.0} mails/s, fdatasync {:.2} ms",
            alone.commits_of_1_per_second,
            alone.commits_of_20_per_second,
            alone.queue_per_second,
            alone.http_per_second,
            alone.smtp_per_second,
            alone.fdatasync_ms
        ));
        say(&format!(
            "one order at the least: {:.2} ms of commits, {:.2} of deliveries, {:.2} of requests, {:.2} of mails",
            limit.commits_ms, limit.deliveries_ms, limit.requests_ms, limit.mails_ms
        ));
        say(&format!(
            "X {:.0} orders/s, L {:.0} orders/s, X / L {:.2}",
            self.throughput.rate,
            limit.orders_per_second,
            self.ratio()
        ));
        if self.drift > NOISE {
            self.tell_noise(say);
        }
    }

    fn tell_noise(&self, say: &impl Fn(&str)) {
        let limit = |alone| Limit::of(alone, &self.cost).orders_per_second;
        let (before, after) = (&self.before, &self.after);
        say(&format!(
            "NOISY: something else is at work here. Parts of the calibrations before and after differ by up to {:.0} %, \
             L is {:.0} and {:.0} orders/s by them, and the shortest way {:.1} and {:.1} ms",
            self.drift * 100.0,
            limit(before),
            limit(after),
            before.shortest_confirmation_ms(),
            after.shortest_confirmation_ms()
        ));
    }

    fn tell_costs(&self, say: &impl Fn(&str)) {
        let cost = &self.cost;
        say("");
        say(&format!(
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
        say(&format!("CPU ms per order: {:.2} = {}", cost.total_cpu_ms(), cpu.join(" + ")));
        say("");
        say(&format!(
            "{:<18}{:>9}{:>9}{:>10}{:>11}",
            "service", "idle MB", "peak MB", "ready ms", "binary MB"
        ));
        for it in &self.footprints {
            say(&format!(
                "{:<18}{:>9.1}{:>9.1}{:>10.0}{:>11.1}",
                it.service, it.idle_mb, it.peak_mb, it.ready_ms, it.binary_mb
            ));
        }
    }
}
