//! The breaker of a queue, which reports its changes to the log, the metrics and the health notes.

use std::time::{Duration, Instant};

use runtime::{health::Health, retry};

use super::job::Job;
use crate::breaker::{Breaker, BreakerConfig, CallResult, Change, Period};
use crate::metrics::{BreakerState, METRICS};

/// Limits the claims: a job that it does not permit stays in the queue, and spends no attempt.
pub(super) struct BreakerGuard {
    breaker: Breaker,
    dependency: &'static str,
    health: Health,
    reason: String,
}

impl BreakerGuard {
    pub(super) fn new(dependency: &'static str, config: BreakerConfig, health: Health) -> Self {
        METRICS.breaker_is(dependency, BreakerState::Closed);
        Self { breaker: Breaker::new(config, retry::spread), dependency, health, reason: String::new() }
    }

    /// How many of the `free` calls may start.
    pub(super) fn permits(&mut self, free: usize) -> usize {
        if let Some(change) = self.breaker.look(Instant::now()) {
            self.report(change);
        }
        self.breaker.permits().min(free)
    }

    /// How long until the breaker changes by itself, or `at_most`.
    pub(super) fn cooldown(&self, at_most: Duration) -> Duration {
        self.breaker.cooldown(Instant::now()).map_or(at_most, |rest| rest.min(at_most))
    }

    pub(super) fn started(&mut self, calls: usize) -> Period {
        self.breaker.started(calls)
    }

    /// Counts a call that ended, with the reason when it failed.
    pub(super) fn ended(&mut self, started: Period, job: &Job, result: CallResult, reason: &str) {
        if let Some(change) = self.breaker.ended(started, job.id, result, Instant::now()) {
            reason.clone_into(&mut self.reason);
            self.report(change);
        }
    }

    fn report(&self, change: Change) {
        let (dependency, reason) = (self.dependency, &self.reason);
        let state = match change {
            Change::Opened(pause) => {
                let pause_ms = pause.as_millis();
                tracing::warn!(dependency, reason, pause_ms, "the breaker opens: jobs wait");
                self.health.note(dependency, format!("failing, its jobs wait: {reason}"));
                BreakerState::Open
            }
            Change::HalfOpened => {
                tracing::info!(dependency, "the breaker is half-open: a few jobs are tried");
                self.health.note(dependency, format!("was failing, a few jobs are tried: {reason}"));
                BreakerState::HalfOpen
            }
            Change::Closed => {
                tracing::info!(dependency, "the breaker closes: jobs run again");
                self.health.drop_note(dependency);
                BreakerState::Closed
            }
        };
        METRICS.breaker_becomes(dependency, state);
    }
}
