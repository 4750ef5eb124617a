//! The breaker of a queue, and whom its changes are told: the log, the metrics, and readiness, which notes them only.

use std::time::{Duration, Instant};

use runtime::{health::Health, retry};

use super::Job;
use crate::breaker::{Breaker, BreakerSettings, CallResult, Change, Period};
use crate::metrics::{BreakerState, METRICS};

/// Stands before the claim: what it does not let through stays in the queue, and spends no attempt.
pub(super) struct BreakerGuard {
    breaker: Breaker,
    dependency: &'static str,
    health: Health,
    /// What the last trouble was.
    reason: String,
}

impl BreakerGuard {
    pub(super) fn new(settings: BreakerSettings, health: Health) -> Self {
        let dependency = settings.dependency;
        METRICS.breaker_is(dependency, BreakerState::Closed);
        Self { breaker: Breaker::new(settings, retry::spread), dependency, health, reason: String::new() }
    }

    /// How many of the calls that could start may start.
    pub(super) fn permits(&mut self, free: usize) -> usize {
        if let Some(change) = self.breaker.look(Instant::now()) {
            self.tell(change);
        }
        self.breaker.permits().min(free)
    }

    /// How long nothing changes by itself: the pause, or `at_most`.
    pub(super) fn cooldown(&self, at_most: Duration) -> Duration {
        self.breaker.cooldown(Instant::now()).map_or(at_most, |rest| rest.min(at_most))
    }

    /// So many calls start.
    pub(super) fn started(&mut self, calls: usize) -> Period {
        self.breaker.started(calls)
    }

    /// A call ended with that sign, for that reason when it was no good one.
    pub(super) fn ended(&mut self, started: Period, job: &Job, sign: CallResult, reason: &str) {
        if let Some(change) = self.breaker.ended(started, job.id, sign, Instant::now()) {
            reason.clone_into(&mut self.reason);
            self.tell(change);
        }
    }

    fn tell(&self, change: Change) {
        let (dependency, reason) = (self.dependency, &self.reason);
        let state = match change {
            Change::Opened(pause) => {
                let pause_ms = pause.as_millis();
                tracing::warn!(dependency, reason, pause_ms, "the breaker opens: its jobs wait");
                self.health.note(dependency, format!("in trouble, its jobs wait: {reason}"));
                BreakerState::Open
            }
            Change::HalfOpened => {
                tracing::info!(dependency, "the breaker is half-open: a few jobs are tried");
                self.health.note(dependency, format!("was in trouble, a few jobs are tried: {reason}"));
                BreakerState::HalfOpen
            }
            Change::Closed => {
                tracing::info!(dependency, "the breaker closes: its jobs are done again");
                self.health.drop_note(dependency);
                BreakerState::Closed
            }
        };
        METRICS.breaker_becomes(dependency, state);
    }
}
