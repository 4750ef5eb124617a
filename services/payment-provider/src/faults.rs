//! Faults to switch on: how often a call fails, and how.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// What `GET` and `PUT /faults` carry. All are off at the start; a member that is left out is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// How late every answer is, up to a minute.
    latency_ms: u64,
    /// The share of calls that are answered 503, with nothing done: 0 to 1.
    error_rate: f64,
    /// The share of the others that get no answer, with nothing done: 0 to 1.
    timeout_rate: f64,
    /// The share of what is left that takes effect and gets no answer: 0 to 1.
    timeout_after_effect_rate: f64,
    /// The share of what is left that is refused for good with a 409, with nothing done: 0 to 1.
    refused_rate: f64,
    /// The share of what is left before which the hold that it is about expires: 0 to 1.
    expired_rate: f64,
    /// The share of what is left that takes effect and is answered with another amount: 0 to 1.
    wrong_answer_rate: f64,
}

impl Settings {
    const MAX_LATENCY_MS: u64 = 60_000;

    /// The settings, or what is wrong with them.
    pub(crate) fn validated(self) -> Result<Self, String> {
        if self.latency_ms > Self::MAX_LATENCY_MS {
            return Err(format!("latency_ms is at most {}", Self::MAX_LATENCY_MS));
        }
        match self.rates().into_iter().find(|(_, rate, _)| !(0.0..=1.0).contains(rate)) {
            Some((name, ..)) => Err(format!("{name} is a number from 0 to 1")),
            None => Ok(self),
        }
    }

    /// Each rate with its name and its fault, in the order in which the dice are thrown.
    fn rates(&self) -> [(&'static str, f64, Fault); 6] {
        [
            ("error_rate", self.error_rate, Fault::Error),
            ("timeout_rate", self.timeout_rate, Fault::Timeout),
            ("timeout_after_effect_rate", self.timeout_after_effect_rate, Fault::TimeoutAfterEffect),
            ("refused_rate", self.refused_rate, Fault::Refused),
            ("expired_rate", self.expired_rate, Fault::Expired),
            ("wrong_answer_rate", self.wrong_answer_rate, Fault::WrongAnswer),
        ]
    }
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503, with nothing done.
    Error,
    /// No answer, with nothing done.
    Timeout,
    /// No answer, though it was done.
    TimeoutAfterEffect,
    /// A definite no, with nothing done.
    Refused,
    /// The hold expires before the call comes.
    Expired,
    /// It was done, and the answer shows another amount.
    WrongAnswer,
}

#[derive(Debug)]
pub(crate) struct Faults {
    state: Mutex<(Settings, StdRng)>,
    calls: AtomicU64,
}

impl Faults {
    pub(crate) fn new(random: StdRng) -> Self {
        Self { state: Mutex::new((Settings::default(), random)), calls: AtomicU64::default() }
    }

    /// How many calls came since the start, whatever became of them.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn settings(&self) -> Settings {
        self.lock().0
    }

    pub(crate) fn set(&self, settings: Settings) {
        self.lock().0 = settings;
    }

    /// How late the next call is, and what goes wrong with it.
    pub(crate) fn draw(&self) -> (Duration, Option<Fault>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        let (settings, random) = &mut *state;
        let mut rates = settings.rates().into_iter();
        let fault = rates.find_map(|(_, rate, fault)| random.random_bool(rate).then_some(fault));
        (Duration::from_millis(settings.latency_ms), fault)
    }

    fn lock(&self) -> MutexGuard<'_, (Settings, StdRng)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn faults(seed: u64, settings: Settings) -> Vec<Option<Fault>> {
        let faults = Faults::new(StdRng::seed_from_u64(seed));
        faults.set(settings);
        (0..1000).map(|_| faults.draw().1).collect()
    }

    fn mixed() -> Settings {
        let (error_rate, timeout_rate, timeout_after_effect_rate) = (0.1, 0.2, 0.5);
        Settings { error_rate, timeout_rate, timeout_after_effect_rate, ..Settings::default() }
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        assert_eq!(faults(17, mixed()), faults(17, mixed()));
        assert_ne!(faults(17, mixed()), faults(18, mixed()));
    }

    #[test]
    fn every_fault_comes_about_as_often_as_it_should() {
        let drawn = faults(17, mixed());
        let count = |fault| drawn.iter().filter(|drawn| **drawn == fault).count();
        assert!((70..130).contains(&count(Some(Fault::Error))));
        assert!((140..220).contains(&count(Some(Fault::Timeout))));
        assert!((310..410).contains(&count(Some(Fault::TimeoutAfterEffect))));
    }

    #[test]
    fn nothing_goes_wrong_when_nothing_is_switched_on() {
        assert!(faults(17, Settings::default()).iter().all(Option::is_none));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = Settings { timeout_rate: 1.1, ..mixed() };
        assert_eq!(wrong.validated().unwrap_err(), "timeout_rate is a number from 0 to 1");
        let wrong = Settings { error_rate: f64::NAN, ..mixed() };
        assert_eq!(wrong.validated().unwrap_err(), "error_rate is a number from 0 to 1");
        let wrong = Settings { latency_ms: 60_001, ..mixed() };
        assert_eq!(wrong.validated().unwrap_err(), "latency_ms is at most 60000");
        assert!(mixed().validated().is_ok());
    }
}
