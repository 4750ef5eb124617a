//! Why a message is not in effect, and when it is tried again.

use std::{fmt, str::FromStr, time::Duration};

use crate::failure_policy::Failure;
use crate::metrics::METRICS;

/// A message that was delivered so often, and never acknowledged, may kill its consumer: it is tried alone.
pub(crate) const SUSPECT_DELIVERIES: i64 = 3;
/// Attempts in a row in which the process may die.
pub(super) const UNFINISHED_LIMIT: i32 = 3;
/// The waits of a message that is not for this build: as long as it has waited already, within these bounds.
const UNSUPPORTED_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

#[derive(Debug, Clone, clap::Args)]
pub struct RetryConfig {
    /// How long a message that failed waits before each further attempt, 1ms to 24h; after the last it is a dead letter.
    #[arg(id = "RETRY_DELAYS", long = "retry-delays", env = "RETRY_DELAYS", default_value_t)]
    pub delays: RetryDelays,

    /// How long an event waits that this build does not support, 1ms to 720h: a newer replica may take it. Then it is a dead
    /// letter.
    #[arg(
        id = "UNSUPPORTED_WAIT",
        long = "unsupported-wait",
        env = "UNSUPPORTED_WAIT",
        default_value = "24h"
    )]
    #[arg(value_parser = runtime::config::duration(Duration::from_millis(1)..=Duration::from_hours(720)))]
    pub unsupported_wait: Duration,
}

/// The retry delays: at least one, each of whole milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryDelays(Vec<Duration>);

/// Why a message is not in effect.
#[derive(Debug, Clone)]
pub(crate) enum Rejection {
    /// No build can handle it.
    Garbage(String),
    /// A newer build may handle it. That is no attempt.
    NotForThisBuild(String),
    /// An attempt failed.
    Failed(String),
    /// It may kill its process: tried at once, alone.
    SetAside(String),
    /// No further attempt is made.
    GivenUp(String),
}

impl Rejection {
    pub(crate) fn of(failure: &Failure) -> Self {
        let reason = failure.to_string();
        if let Failure::NotForThisBuild(_) = failure {
            Self::NotForThisBuild(reason)
        } else {
            Self::Failed(reason)
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Garbage(reason)
            | Self::NotForThisBuild(reason)
            | Self::Failed(reason)
            | Self::SetAside(reason)
            | Self::GivenUp(reason) => reason,
        }
    }

    /// As in the column.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Garbage(_) => "garbage",
            Self::NotForThisBuild(_) => "not_for_this_build",
            Self::Failed(_) | Self::SetAside(_) | Self::GivenUp(_) => "failed",
        }
    }

    /// How many attempts have failed, when it was so many before.
    pub(super) fn attempts(&self, before: i32) -> i32 {
        before.saturating_add(matches!(self, Self::Failed(_)).into())
    }
}

impl RetryConfig {
    /// How long the message waits for its next attempt; `None` when it is a dead letter. `before` attempts had failed already,
    /// and it came `age` ago.
    pub(super) fn wait(&self, rejection: &Rejection, before: i32, age: Duration) -> Option<Duration> {
        match rejection {
            Rejection::Garbage(_) | Rejection::GivenUp(_) => None,
            Rejection::SetAside(_) => Some(Duration::ZERO),
            Rejection::Failed(_) => self.delays.0.get(usize::try_from(before).unwrap_or_default()).copied(),
            Rejection::NotForThisBuild(_) => {
                let left = self.unsupported_wait.checked_sub(age).filter(|left| !left.is_zero())?;
                Some(age.clamp(UNSUPPORTED_WAITS.0, UNSUPPORTED_WAITS.1).min(left))
            }
        }
    }

    /// Counts and logs a message that is stored as failed, or that failed again: `past` are the attempts that had failed
    /// already, and its age.
    pub(super) fn report(&self, source: &str, message: &str, rejection: &Rejection, past: (i32, Duration)) {
        let (before, age) = past;
        let (attempts, reason) = (rejection.attempts(before), rejection.reason());
        if self.wait(rejection, before, age).is_some() {
            tracing::warn!(message, attempts, source, reason, "a message failed: a retry is scheduled");
            METRICS.retry_scheduled(source);
        } else {
            tracing::error!(message, attempts, source, reason, "a message failed: it is a dead letter");
            METRICS.dead_lettered(source);
        }
    }

    /// How often to look for messages that are due.
    pub(super) fn look_interval(&self) -> Duration {
        const LONGEST: Duration = Duration::from_millis(500);
        self.delays.0.iter().min().map_or(LONGEST, |shortest| LONGEST.min(*shortest))
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { delays: RetryDelays::default(), unsupported_wait: Duration::from_hours(24) }
    }
}

impl Default for RetryDelays {
    fn default() -> Self {
        Self([1, 10, 60].map(Duration::from_secs).to_vec())
    }
}

impl FromStr for RetryDelays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let delay = runtime::config::duration(Duration::from_millis(1)..=Duration::from_hours(24));
        text.split(',').map(|part| delay(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for RetryDelays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = |delay: &Duration| match delay.subsec_millis() {
            0 => format!("{}s", delay.as_secs()),
            _ => format!("{}ms", delay.as_millis()),
        };
        f.write_str(&self.0.iter().map(written).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_parsed_as_they_are_displayed() {
        let delays: RetryDelays = "250ms, 1s,60s".parse().expect("delays");
        assert_eq!(delays.to_string(), "250ms,1s,60s");
        assert_eq!(RetryDelays::default().to_string(), "1s,10s,60s");
        for text in ["", "0s", "1s,,2s", "1s,25h", "fast"] {
            assert!(text.parse::<RetryDelays>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_message_that_failed_has_every_delay_once() {
        let (retries, failed) = (RetryConfig::default(), Rejection::Failed("as told".to_owned()));
        let waits: Vec<_> = (0..5).map(|before| retries.wait(&failed, before, Duration::ZERO)).collect();
        let [one, ten, sixty] = [1, 10, 60].map(|seconds| Some(Duration::from_secs(seconds)));
        assert_eq!(waits, [one, ten, sixty, None, None]);
    }

    #[test]
    fn what_is_not_for_this_build_waits_longer_and_longer_for_a_day() {
        let (retries, rejection) = (RetryConfig::default(), Rejection::NotForThisBuild("newer".to_owned()));
        let (mut age, mut waits) = (Duration::ZERO, 0);
        while let Some(wait) = retries.wait(&rejection, 0, age) {
            assert!(wait <= Duration::from_mins(5), "after {age:?}: {wait:?}");
            (age, waits) = (age + wait, waits + 1);
        }
        assert_eq!(age, Duration::from_hours(24));
        assert!((290..300).contains(&waits), "{waits} attempts");
    }

    #[test]
    fn garbage_is_a_dead_letter_at_once() {
        let garbage = Rejection::Garbage("no envelope".to_owned());
        assert_eq!(RetryConfig::default().wait(&garbage, 0, Duration::ZERO), None);
        assert_eq!(garbage.attempts(0), 0);
    }
}
