//! Every change of the state of a breaker.

use super::*;

const PAUSE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(5);
const BLINK: Duration = Duration::from_millis(1);

/// A breaker, a clock, and the number of jobs so far.
struct Stage {
    breaker: Breaker,
    now: Instant,
    jobs: u128,
}

impl Stage {
    /// Opens after 3 jobs, and closes after 2 successes of 3 probes.
    fn closed() -> Self {
        let config = BreakerConfig { failures: 3, pause: PAUSE, pause_cap: CAP };
        let breaker = Breaker::new(config, |pause| pause);
        Self { breaker, now: Instant::now(), jobs: 0 }
    }

    fn open() -> Self {
        let mut stage = Self::closed();
        assert_eq!(stage.call(CallResult::Failure), None);
        assert_eq!(stage.call(CallResult::Failure), None);
        assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(PAUSE)));
        stage
    }

    fn half_open() -> Self {
        let mut stage = Self::open();
        assert_eq!(stage.after(PAUSE), Some(Change::HalfOpened));
        stage
    }

    /// Checks the breaker when this time has passed.
    fn after(&mut self, time: Duration) -> Option<Change> {
        self.now += time;
        self.breaker.look(self.now)
    }

    /// A call of a new job, started and ended.
    fn call(&mut self, result: CallResult) -> Option<Change> {
        assert!(self.breaker.permits() > 0);
        let period = self.breaker.started(1);
        self.ends(period, result)
    }

    /// The end of a call that began in that period.
    fn ends(&mut self, period: Period, result: CallResult) -> Option<Change> {
        self.jobs += 1;
        self.breaker.ended(period, Uuid::from_u128(self.jobs), result, self.now)
    }
}

#[test]
fn it_opens_at_the_threshold() {
    assert_eq!(Stage::closed().breaker.permits(), usize::MAX);
    assert_eq!(Stage::open().breaker.permits(), 0);
}

#[test]
fn a_success_restarts_the_count_and_an_ignored_call_does_not() {
    let mut stage = Stage::closed();
    for result in [
        CallResult::Failure,
        CallResult::Failure,
        CallResult::Success,
        CallResult::Failure,
        CallResult::Ignored,
        CallResult::Failure,
    ] {
        assert_eq!(stage.call(result), None, "{result:?}");
    }
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(PAUSE)));
}

#[test]
fn one_job_that_always_fails_does_not_open_it() {
    let mut stage = Stage::closed();
    for _ in 0..20 {
        let period = stage.breaker.started(1);
        assert_eq!(stage.breaker.ended(period, Uuid::from_u128(7), CallResult::Failure, stage.now), None);
    }
    assert_eq!(stage.breaker.permits(), usize::MAX);
}

#[test]
fn it_becomes_half_open_after_its_pause() {
    let mut stage = Stage::open();
    assert_eq!(stage.breaker.cooldown(stage.now), Some(PAUSE));
    assert_eq!(stage.after(PAUSE - BLINK), None);
    assert_eq!((stage.breaker.cooldown(stage.now), stage.breaker.permits()), (Some(BLINK), 0));
    assert_eq!(stage.after(BLINK), Some(Change::HalfOpened));
    assert_eq!((stage.breaker.cooldown(stage.now), stage.breaker.permits()), (None, 3));
    assert_eq!(stage.after(CAP), None, "it waits for its probes without a limit");
}

#[test]
fn half_open_it_closes_after_enough_successes() {
    let mut stage = Stage::half_open();
    assert_eq!(stage.call(CallResult::Success), None);
    assert_eq!(stage.call(CallResult::Success), Some(Change::Closed));
    assert_eq!(stage.breaker.permits(), usize::MAX);
}

#[test]
fn half_open_it_opens_at_the_first_failure() {
    let mut stage = Stage::half_open();
    assert_eq!(stage.call(CallResult::Success), None);
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(2 * PAUSE)));
    assert_eq!(stage.breaker.permits(), 0);
}

#[test]
fn half_open_only_probes_may_start() {
    let mut stage = Stage::half_open();
    let period = stage.breaker.started(2);
    assert_eq!(stage.breaker.permits(), 1);
    stage.breaker.started(1);
    assert_eq!(stage.breaker.permits(), 0);
    assert_eq!(stage.ends(period, CallResult::Success), None);
    assert_eq!(stage.breaker.permits(), 0, "a success uses up its probe");
    assert_eq!(stage.ends(period, CallResult::Ignored), None);
    assert_eq!(stage.breaker.permits(), 1, "an ignored call is replaced");
}

#[test]
fn a_call_of_an_earlier_period_is_ignored() {
    let mut stage = Stage::closed();
    let first = stage.breaker.started(10);
    for _ in 0..3 {
        stage.ends(first, CallResult::Failure);
    }
    assert_eq!(stage.breaker.permits(), 0);
    assert_eq!(stage.ends(first, CallResult::Success), None);
    assert_eq!(stage.ends(first, CallResult::Failure), None);
    assert_eq!(stage.breaker.cooldown(stage.now), Some(PAUSE), "the pause is unchanged");

    stage.after(PAUSE);
    let probe = stage.breaker.started(1);
    for result in [CallResult::Success, CallResult::Success, CallResult::Failure, CallResult::Ignored] {
        assert_eq!(stage.ends(first, result), None, "{result:?}");
    }
    assert_eq!(stage.breaker.permits(), 2);
    assert_eq!(stage.ends(probe, CallResult::Failure), Some(Change::Opened(2 * PAUSE)));
    stage.after(2 * PAUSE);
    for _ in 0..2 {
        assert_eq!(stage.ends(probe, CallResult::Success), None, "a probe of an earlier period");
    }
    assert_eq!(stage.breaker.permits(), 3);
}

#[test]
fn the_pause_doubles_up_to_its_cap_until_it_closes() {
    let mut stage = Stage::half_open();
    for seconds in [2, 4, 5, 5] {
        let pause = Duration::from_secs(seconds);
        assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(pause)));
        assert_eq!(stage.after(pause - BLINK), None);
        assert_eq!(stage.after(BLINK), Some(Change::HalfOpened));
    }
    stage.call(CallResult::Success);
    assert_eq!(stage.call(CallResult::Success), Some(Change::Closed));
    stage.call(CallResult::Failure);
    stage.call(CallResult::Failure);
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(PAUSE)), "the failures are counted anew");
}

#[test]
fn the_pause_never_exceeds_its_cap() {
    let mut stage = Stage::half_open();
    for _ in 0..100 {
        let change = stage.call(CallResult::Failure);
        assert!(matches!(change, Some(Change::Opened(pause)) if pause <= CAP), "{change:?}");
        stage.after(CAP);
    }
}

#[test]
fn the_pause_is_spread() {
    let mut stage = Stage::closed();
    stage.breaker.spread = |pause| pause / 2;
    stage.call(CallResult::Failure);
    stage.call(CallResult::Failure);
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(PAUSE / 2)));
    assert_eq!(stage.after(PAUSE / 2), Some(Change::HalfOpened));
}
