//! Every change of the state, and what changes nothing.

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
    /// Opens after 3 jobs, and closes after 2 answers of 3 probes.
    fn closed() -> Self {
        let settings = BreakerSettings {
            dependency: "weather",
            failures: 3,
            pause: PAUSE,
            pause_cap: CAP,
            probes: 3,
            successes: 2,
        };
        let breaker = Breaker::new(settings, |pause| pause);
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

    /// Looks again when so much time has passed.
    fn after(&mut self, time: Duration) -> Option<Change> {
        self.now += time;
        self.breaker.look(self.now)
    }

    /// A call for a job of its own, begun and ended.
    fn call(&mut self, sign: CallResult) -> Option<Change> {
        assert!(self.breaker.permits() > 0);
        let period = self.breaker.started(1);
        self.ends(period, sign)
    }

    /// The end of a call that began in that period.
    fn ends(&mut self, period: Period, sign: CallResult) -> Option<Change> {
        self.jobs += 1;
        self.breaker.ended(period, Uuid::from_u128(self.jobs), sign, self.now)
    }
}

#[test]
fn closed_it_admits_everything_and_opens_at_the_threshold() {
    assert_eq!(Stage::closed().breaker.permits(), usize::MAX);
    assert_eq!(Stage::open().breaker.permits(), 0);
}

#[test]
fn an_answer_in_between_starts_the_count_again_and_silence_does_not() {
    let mut stage = Stage::closed();
    for sign in [
        CallResult::Failure,
        CallResult::Failure,
        CallResult::Success,
        CallResult::Failure,
        CallResult::Ignored,
        CallResult::Failure,
    ] {
        assert_eq!(stage.call(sign), None, "{sign:?}");
    }
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(PAUSE)));
}

#[test]
fn one_job_that_meets_trouble_again_and_again_opens_nothing() {
    let mut stage = Stage::closed();
    for _ in 0..20 {
        let period = stage.breaker.started(1);
        assert_eq!(stage.breaker.ended(period, Uuid::from_u128(7), CallResult::Failure, stage.now), None);
    }
    assert_eq!(stage.breaker.permits(), usize::MAX);
}

#[test]
fn open_it_becomes_half_open_when_the_pause_is_over_and_not_before() {
    let mut stage = Stage::open();
    assert_eq!(stage.breaker.cooldown(stage.now), Some(PAUSE));
    assert_eq!(stage.after(PAUSE - BLINK), None);
    assert_eq!((stage.breaker.cooldown(stage.now), stage.breaker.permits()), (Some(BLINK), 0));
    assert_eq!(stage.after(BLINK), Some(Change::HalfOpened));
    assert_eq!((stage.breaker.cooldown(stage.now), stage.breaker.permits()), (None, 3));
    assert_eq!(stage.after(CAP), None, "it waits for its probes, however long");
}

#[test]
fn half_open_it_closes_after_enough_answers() {
    let mut stage = Stage::half_open();
    assert_eq!(stage.call(CallResult::Success), None);
    assert_eq!(stage.call(CallResult::Success), Some(Change::Closed));
    assert_eq!(stage.breaker.permits(), usize::MAX);
}

#[test]
fn half_open_it_opens_at_the_first_trouble() {
    let mut stage = Stage::half_open();
    assert_eq!(stage.call(CallResult::Success), None);
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(2 * PAUSE)));
    assert_eq!(stage.breaker.permits(), 0);
}

#[test]
fn half_open_no_more_calls_start_than_there_are_probes() {
    let mut stage = Stage::half_open();
    let period = stage.breaker.started(2);
    assert_eq!(stage.breaker.permits(), 1);
    stage.breaker.started(1);
    assert_eq!(stage.breaker.permits(), 0);
    assert_eq!(stage.ends(period, CallResult::Success), None);
    assert_eq!(stage.breaker.permits(), 0, "one that answered has had its turn");
    assert_eq!(stage.ends(period, CallResult::Ignored), None);
    assert_eq!(stage.breaker.permits(), 1, "one that asked nothing is replaced");
}

#[test]
fn a_call_of_an_earlier_period_counts_no_more() {
    let mut stage = Stage::closed();
    let first = stage.breaker.started(10);
    for _ in 0..3 {
        stage.ends(first, CallResult::Failure);
    }
    assert_eq!(stage.breaker.permits(), 0);
    assert_eq!(stage.ends(first, CallResult::Success), None);
    assert_eq!(stage.ends(first, CallResult::Failure), None);
    assert_eq!(stage.breaker.cooldown(stage.now), Some(PAUSE), "the pause is not longer for it");

    stage.after(PAUSE);
    let probe = stage.breaker.started(1);
    for sign in [CallResult::Success, CallResult::Success, CallResult::Failure, CallResult::Ignored] {
        assert_eq!(stage.ends(first, sign), None, "{sign:?}");
    }
    assert_eq!(stage.breaker.permits(), 2);
    assert_eq!(stage.ends(probe, CallResult::Failure), Some(Change::Opened(2 * PAUSE)));
    stage.after(2 * PAUSE);
    for _ in 0..2 {
        assert_eq!(stage.ends(probe, CallResult::Success), None, "a probe of the time before");
    }
    assert_eq!(stage.breaker.permits(), 3);
}

#[test]
fn the_pause_doubles_up_to_its_cap_and_is_short_again_after_a_recovery() {
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
    assert_eq!(
        stage.call(CallResult::Failure),
        Some(Change::Opened(PAUSE)),
        "nothing is left of the count, either"
    );
}

#[test]
fn however_often_it_opens_the_pause_stays_a_time() {
    let mut stage = Stage::half_open();
    for _ in 0..100 {
        let change = stage.call(CallResult::Failure);
        assert!(matches!(change, Some(Change::Opened(pause)) if pause <= CAP), "{change:?}");
        stage.after(CAP);
    }
}

#[test]
fn the_pause_is_what_the_spread_makes_of_it() {
    let mut stage = Stage::closed();
    stage.breaker.spread = |pause| pause / 2;
    stage.call(CallResult::Failure);
    stage.call(CallResult::Failure);
    assert_eq!(stage.call(CallResult::Failure), Some(Change::Opened(PAUSE / 2)));
    assert_eq!(stage.after(PAUSE / 2), Some(Change::HalfOpened));
}
