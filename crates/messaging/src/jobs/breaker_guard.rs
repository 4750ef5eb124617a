//! The breakers of a queue, one for each lane, which report their changes to the log, the metrics and the health notes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use runtime::{health::Health, retry};

use super::job::Job;
use crate::breaker::{Breaker, BreakerConfig, BreakerState, CallResult, Change, Period};
use crate::metrics::METRICS;

/// Limits the claims: a job that it does not permit stays in the queue, and spends no attempt.
pub(super) struct BreakerGuard {
    dependency: &'static str,
    config: BreakerConfig,
    health: Health,
    /// Of the lanes in which something failed lately; the others are closed.
    breakers: BTreeMap<String, Guarded>,
}

struct Guarded {
    breaker: Breaker,
    /// Why it opened.
    reason: String,
}

impl BreakerGuard {
    pub(super) fn new(dependency: &'static str, config: BreakerConfig, health: Health) -> Self {
        METRICS.breaker_is(dependency, BreakerState::Closed);
        Self { dependency, config, health, breakers: BTreeMap::new() }
    }

    /// Lets breakers whose pause is over become half-open.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        let mut changes = Vec::new();
        for (lane, guarded) in &mut self.breakers {
            changes.extend(guarded.breaker.look(now).map(|change| (lane.clone(), change)));
        }
        changes.into_iter().for_each(|(lane, change)| self.report(&lane, change));
    }

    /// The lanes in which not every call may start, and how many may start in each.
    pub(super) fn held(&self) -> (Vec<String>, Vec<usize>) {
        let held = self.breakers.iter().filter(|(_, it)| it.breaker.state() != BreakerState::Closed);
        held.map(|(lane, guarded)| (lane.clone(), guarded.breaker.permits())).unzip()
    }

    /// How long until a breaker changes by itself, or `at_most`.
    pub(super) fn cooldown(&self, at_most: Duration) -> Duration {
        let now = Instant::now();
        let rests = self.breakers.values().filter_map(|guarded| guarded.breaker.cooldown(now));
        rests.fold(at_most, Duration::min)
    }

    /// Counts a call that starts.
    pub(super) fn started(&mut self, lane: &str) -> Period {
        self.breakers.get_mut(lane).map_or(Period::FIRST, |guarded| guarded.breaker.started(1))
    }

    /// Counts a call that ended, with the reason when it failed.
    pub(super) fn ended(&mut self, started: Period, job: &Job, result: CallResult, reason: &str) {
        if result != CallResult::Failure && !self.breakers.contains_key(&job.lane) {
            return;
        }
        let closed =
            || Guarded { breaker: Breaker::new(self.config.clone(), retry::spread), reason: String::new() };
        let guarded = self.breakers.entry(job.lane.clone()).or_insert_with(closed);
        if let Some(change) = guarded.breaker.ended(started, job.id, result, Instant::now()) {
            reason.clone_into(&mut guarded.reason);
            self.report(&job.lane, change);
        }
        self.breakers.retain(|_, guarded| !guarded.breaker.is_new());
    }

    fn report(&self, lane: &str, change: Change) {
        let dependency = self.dependency;
        let reason = self.breakers.get(lane).map_or("", |guarded| guarded.reason.as_str());
        let state = match change {
            Change::Opened(pause) => {
                let pause_ms = pause.as_millis();
                tracing::warn!(dependency, lane, reason, pause_ms, "the breaker opens: jobs wait");
                BreakerState::Open
            }
            Change::HalfOpened => {
                tracing::info!(dependency, lane, "the breaker is half-open: a few jobs are tried");
                BreakerState::HalfOpen
            }
            Change::Closed => {
                tracing::info!(dependency, lane, "the breaker closes: jobs run again");
                BreakerState::Closed
            }
        };
        let worst = self.breakers.iter().max_by_key(|(_, guarded)| guarded.breaker.state());
        let worst_state = worst.map_or(BreakerState::Closed, |(_, guarded)| guarded.breaker.state());
        METRICS.breaker_becomes(dependency, state, worst_state);
        match worst.and_then(|(lane, guarded)| guarded.note(lane)) {
            Some(note) => self.health.note(dependency, note),
            None => self.health.drop_note(dependency),
        }
    }
}

impl Guarded {
    /// What readiness says of the lane; nothing while its jobs run.
    fn note(&self, lane: &str) -> Option<String> {
        let subject = if lane.is_empty() { String::new() } else { format!(" for {lane}") };
        let reason = &self.reason;
        match self.breaker.state() {
            BreakerState::Open => Some(format!("failing{subject}, its jobs wait: {reason}")),
            BreakerState::HalfOpen => Some(format!("was failing{subject}, a few jobs are tried: {reason}")),
            BreakerState::Closed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::effects::CausationContext;

    #[test]
    fn a_note_is_of_a_lane_that_is_held() {
        let pause = Duration::from_hours(1);
        let health = Health::of("payment");
        let config = BreakerConfig { failures: 1, pause, pause_cap: pause };
        let mut guard = BreakerGuard::new("processor", config, health.clone());
        let job = |lane: &str| Job {
            id: Uuid::nil(),
            key: Uuid::nil(),
            payload: Value::Null,
            attempts: 1,
            age: Duration::ZERO,
            lane: lane.to_owned(),
            resolution: None,
            origin: CausationContext::default(),
        };
        for lane in ["visa", "amex"] {
            guard.ended(Period::FIRST, &job(lane), CallResult::Failure, &format!("{lane} is down"));
        }
        let recovered = guard.breakers.remove("amex").expect("it failed");
        guard.report("amex", Change::Closed);
        let note = health.notes().remove("processor").expect("a note");
        assert_eq!(note, "failing for visa, its jobs wait: visa is down");
        guard.breakers = BTreeMap::from([("amex".to_owned(), recovered)]);
        guard.report("visa", Change::Closed);
        assert!(health.notes()["processor"].contains("for amex"));
        guard.breakers.clear();
        guard.report("amex", Change::Closed);
        assert!(health.notes().is_empty());
    }
}
