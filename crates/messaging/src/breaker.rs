//! A circuit breaker: while a dependency fails, its jobs stay in their queue and spend no attempt.
//!
//! | state | calls that may start | becomes |
//! |---|---|---|
//! | closed | all | open, after failures of enough different jobs in a row |
//! | open | none | half-open, after its pause |
//! | half-open | a few probes | closed after enough successes; open at the first failure, for twice as long |
//!
//! Jobs are counted, not calls: one job that always fails says nothing about the dependency. A call that started in an
//! earlier state is ignored, since it says nothing about the present.
//!
//! Nothing here reads a clock or draws random numbers: time is an argument, and so is how pauses are spread. The pattern
//! is Michael Nygard's ("Release It!").

use std::collections::HashSet;
use std::time::{Duration, Instant};

use runtime::config::duration;
use uuid::Uuid;

/// The calls that may start while the breaker is half-open, ignored ones not counted.
pub const PROBES: usize = 3;
/// The successes after which it closes: one fewer, so that a job that always fails does not keep it open.
const SUCCESSES: usize = 2;

/// When a service stops calling a dependency that fails.
#[derive(Debug, Clone, clap::Args)]
pub struct BreakerConfig {
    /// The number of different jobs in a row that fail before no more are claimed, 1 to 1000
    #[arg(long = "breaker-failures", env = "BREAKER_FAILURES", default_value_t = 5)]
    #[arg(id = "BREAKER_FAILURES", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub failures: u16,

    /// How long no jobs are claimed before a few are tried; doubles while the dependency fails,
    /// 1ms to 1h, e.g. 1s
    #[arg(long = "breaker-pause", env = "BREAKER_PAUSE", default_value = "1s")]
    #[arg(id = "BREAKER_PAUSE", value_parser = duration(Duration::from_millis(1)..=Duration::from_hours(1)))]
    pub pause: Duration,

    /// The longest such pause, 1ms to 1h, e.g. 10s
    #[arg(long = "breaker-pause-cap", env = "BREAKER_PAUSE_CAP", default_value = "10s")]
    #[arg(id = "BREAKER_PAUSE_CAP", value_parser = duration(Duration::from_millis(1)..=Duration::from_hours(1)))]
    pub pause_cap: Duration,
}

/// What a call says about the dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// It answered, also if it refused.
    Success,
    /// It was unavailable, did not answer in time, or said that it cannot answer now.
    Failure,
    /// The call says nothing: the dependency was not asked.
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Opened(Duration),
    HalfOpened,
    Closed,
}

/// The time from one change of the state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(u64);

impl Period {
    /// The one in which every breaker begins, closed.
    pub const FIRST: Self = Self(0);
}

/// The state of a breaker, as the gauge shows it; the later, the more it holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum BreakerState {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

#[derive(Debug)]
enum State {
    Closed { failing: HashSet<Uuid> },
    Open { until: Instant },
    HalfOpen { in_flight: usize, successes: usize },
}

#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    /// Spreads a pause, so that replicas do not probe all at once.
    spread: fn(Duration) -> Duration,
    state: State,
    period: Period,
    /// How often it has opened since it was last closed.
    openings: u32,
}

impl Breaker {
    pub fn new(config: BreakerConfig, spread: fn(Duration) -> Duration) -> Self {
        let state = State::Closed { failing: HashSet::new() };
        Self { config, spread, state, period: Period::FIRST, openings: 0 }
    }

    pub fn look(&mut self, now: Instant) -> Option<Change> {
        match self.state {
            State::Open { until } if now >= until => {
                Some(self.change(State::HalfOpen { in_flight: 0, successes: 0 }, Change::HalfOpened))
            }
            _ => None,
        }
    }

    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Whether it is closed and remembers no failure: as good as a new one.
    pub fn is_new(&self) -> bool {
        matches!(&self.state, State::Closed { failing } if failing.is_empty())
    }

    pub fn permits(&self) -> usize {
        match self.state {
            State::Closed { .. } => usize::MAX,
            State::Open { .. } => 0,
            State::HalfOpen { in_flight, successes } => PROBES.saturating_sub(in_flight + successes),
        }
    }

    /// The rest of the pause; none when it is not open.
    pub fn cooldown(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until.saturating_duration_since(now)),
            _ => None,
        }
    }

    /// Counts calls that start, at most as many as it [`permits`](Self::permits), and returns their period.
    pub fn started(&mut self, calls: usize) -> Period {
        if let State::HalfOpen { in_flight, .. } = &mut self.state {
            *in_flight += calls;
        }
        self.period
    }

    /// Counts the call of a job that ended, by the period in which it started.
    pub fn ended(&mut self, started: Period, job: Uuid, result: CallResult, now: Instant) -> Option<Change> {
        if started != self.period {
            return None;
        }
        match (&mut self.state, result) {
            (State::Closed { failing }, CallResult::Success) => {
                failing.clear();
                None
            }
            (State::Closed { failing }, CallResult::Failure) => {
                failing.insert(job);
                (failing.len() >= usize::from(self.config.failures)).then(|| self.open(now))
            }
            (State::HalfOpen { .. }, CallResult::Failure) => Some(self.open(now)),
            (State::HalfOpen { in_flight, successes }, result) => {
                *in_flight = in_flight.saturating_sub(1);
                *successes += usize::from(result == CallResult::Success);
                (*successes >= SUCCESSES).then(|| self.close())
            }
            (State::Closed { .. } | State::Open { .. }, _) => None,
        }
    }

    fn open(&mut self, now: Instant) -> Change {
        let doubled = self.config.pause.saturating_mul(2_u32.saturating_pow(self.openings));
        let pause = (self.spread)(doubled.min(self.config.pause_cap));
        self.openings = self.openings.saturating_add(1);
        self.change(State::Open { until: now + pause }, Change::Opened(pause))
    }

    fn close(&mut self) -> Change {
        self.openings = 0;
        self.change(State::Closed { failing: HashSet::new() }, Change::Closed)
    }

    fn change(&mut self, state: State, change: Change) -> Change {
        self.state = state;
        self.period.0 += 1;
        change
    }
}

#[cfg(test)]
mod tests;
