//! A circuit breaker: while a dependency is in trouble its jobs are left where they are, and none spends an attempt.
//!
//! | state | calls that may start | becomes |
//! |---|---|---|
//! | closed | all | open, when so many different jobs in a row met trouble |
//! | open | none | half-open, when its pause is over |
//! | half-open | a few, to see | closed after enough answers; open at the first trouble, for twice as long |
//!
//! Jobs are counted, not calls: one that gets no answer, however often it is tried, tells of itself and not of the
//! dependency. A call that began in an earlier state tells of the past, and counts no more.
//!
//! Nothing here reads a clock or throws dice: time is an argument, and so is how pauses are spread. The pattern is
//! Michael Nygard's ("Release It!").

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// The calls that probe a dependency while the breaker is half-open, and the successes after which it closes: one fewer,
/// so that a job that always fails does not keep the breaker open.
const PROBES: usize = 3;
const SUCCESSES: usize = 2;

/// What a dependency is called, and when its breaker opens and closes.
#[derive(Debug, Clone)]
pub struct BreakerSettings {
    /// The dependency's name in logs and metrics.
    pub dependency: &'static str,
    /// The different jobs in a row that meet trouble before the breaker opens, at least 1.
    pub failures: usize,
    /// How long it is open the first time; twice as long each time that the dependency is still in trouble after it.
    pub pause: Duration,
    /// The ceiling of every pause.
    pub pause_cap: Duration,
    /// The calls that may start while it is half-open, those without a sign aside; at least `successes`.
    pub probes: usize,
    /// The answers after which it closes, at least 1.
    pub successes: usize,
}

/// When a service stops calling a dependency that fails.
#[derive(Debug, Clone, clap::Args)]
pub struct BreakerConfig {
    /// The number of different jobs in a row that fail before no more are claimed, 1 to 1000
    #[arg(long = "breaker-failures", env = "BREAKER_FAILURES", default_value_t = 5)]
    #[arg(id = "BREAKER_FAILURES", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub failures: u16,

    /// How long no jobs are claimed before a few are tried; doubles while the dependency fails, e.g. 1s
    #[arg(long = "breaker-pause", env = "BREAKER_PAUSE", default_value = "1s")]
    #[arg(id = "BREAKER_PAUSE", value_parser = runtime::config::duration)]
    pub pause: Duration,

    /// The longest such pause, e.g. 10s
    #[arg(long = "breaker-pause-cap", env = "BREAKER_PAUSE_CAP", default_value = "10s")]
    #[arg(id = "BREAKER_PAUSE_CAP", value_parser = runtime::config::duration)]
    pub pause_cap: Duration,
}

impl BreakerConfig {
    /// The breaker of a dependency, by its name in logs and metrics.
    #[must_use]
    pub fn settings(&self, dependency: &'static str) -> BreakerSettings {
        BreakerSettings {
            dependency,
            failures: self.failures.into(),
            pause: self.pause,
            pause_cap: self.pause_cap,
            probes: PROBES,
            successes: SUCCESSES,
        }
    }
}

/// What a call says about the dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// It answered, whatever it said.
    Success,
    /// It was not there, not in time, or said itself that it cannot now.
    Failure,
    /// Nothing: it was not asked.
    Ignored,
}

/// A change of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// No call may start for so long.
    Opened(Duration),
    /// A few calls may start, to see.
    HalfOpened,
    /// All calls may start.
    Closed,
}

/// The time from one change of the state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(u64);

#[derive(Debug)]
enum State {
    Closed { troubled: HashSet<Uuid> },
    Open { until: Instant },
    HalfOpen { under_way: usize, well: usize },
}

/// The breaker of one dependency, closed at first.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// Spreads a pause, so that replicas do not probe all at once.
    spread: fn(Duration) -> Duration,
    state: State,
    period: Period,
    /// How often it opened since it was closed.
    openings: u32,
}

impl Breaker {
    /// A closed breaker, whose pauses are what `spread` makes of them.
    #[must_use]
    pub fn new(settings: BreakerSettings, spread: fn(Duration) -> Duration) -> Self {
        let state = State::Closed { troubled: HashSet::new() };
        Self { settings, spread, state, period: Period(0), openings: 0 }
    }

    /// Becomes half-open when the pause is over.
    pub fn look(&mut self, now: Instant) -> Option<Change> {
        match self.state {
            State::Open { until } if now >= until => {
                Some(self.change(State::HalfOpen { under_way: 0, well: 0 }, Change::HalfOpened))
            }
            _ => None,
        }
    }

    /// How many calls may start now.
    #[must_use]
    pub fn permits(&self) -> usize {
        match self.state {
            State::Closed { .. } => usize::MAX,
            State::Open { .. } => 0,
            State::HalfOpen { under_way, well } => self.settings.probes.saturating_sub(under_way + well),
        }
    }

    /// What is left of the pause; none when it is not open.
    #[must_use]
    pub fn cooldown(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until.saturating_duration_since(now)),
            _ => None,
        }
    }

    /// So many calls, at most those that it [`admits`](Self::admits), start in the period that is given back.
    pub fn started(&mut self, calls: usize) -> Period {
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            *under_way += calls;
        }
        self.period
    }

    /// A job's call that started in that period ended.
    pub fn ended(&mut self, started: Period, job: Uuid, sign: CallResult, now: Instant) -> Option<Change> {
        if started != self.period {
            return None;
        }
        match (&mut self.state, sign) {
            (State::Closed { troubled }, CallResult::Success) => {
                troubled.clear();
                None
            }
            (State::Closed { troubled }, CallResult::Failure) => {
                troubled.insert(job);
                (troubled.len() >= self.settings.failures).then(|| self.open(now))
            }
            (State::HalfOpen { .. }, CallResult::Failure) => Some(self.open(now)),
            (State::HalfOpen { under_way, well }, sign) => {
                *under_way = under_way.saturating_sub(1);
                *well += usize::from(sign == CallResult::Success);
                (*well >= self.settings.successes).then(|| self.close())
            }
            (State::Closed { .. } | State::Open { .. }, _) => None,
        }
    }

    fn open(&mut self, now: Instant) -> Change {
        let doubled = self.settings.pause.saturating_mul(2_u32.saturating_pow(self.openings));
        let pause = (self.spread)(doubled.min(self.settings.pause_cap));
        self.openings = self.openings.saturating_add(1);
        self.change(State::Open { until: now + pause }, Change::Opened(pause))
    }

    fn close(&mut self) -> Change {
        self.openings = 0;
        self.change(State::Closed { troubled: HashSet::new() }, Change::Closed)
    }

    fn change(&mut self, state: State, change: Change) -> Change {
        self.state = state;
        self.period.0 += 1;
        change
    }
}

#[cfg(test)]
mod tests;
