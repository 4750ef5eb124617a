//! When an order is cancelled that nobody else ends, and how an outage of our own postpones that. Pure.
//!
//! The decision deadline measures the participants. They cannot answer while this service's events do not leave it, and
//! their answers are not read while it does not consume. So it is counted anew from the end of such an outage, up to the
//! latest decision.

use chrono::{DateTime, TimeDelta, Utc};

/// The longest time for which messages are taken to flow after they were last seen to. An outage that is shorter may go
/// unnoticed.
pub const MAX_GAP: TimeDelta = TimeDelta::seconds(3);
/// Messages do not flow while an event has waited for longer than this to be published.
pub const MAX_LAG: TimeDelta = TimeDelta::seconds(1);

/// When an order is cancelled that nobody else ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadlines {
    /// A pending order is cancelled at this time, unless an outage of our own postpones it.
    pub decision: DateTime<Utc>,
    /// A pending order is cancelled at this time whatever happens: `decision` is never later.
    pub latest_decision: DateTime<Utc>,
    /// A confirmed order is cancelled at this time.
    pub capture: DateTime<Utc>,
}

impl Deadlines {
    /// A decision deadline that has come holds, unless the participants have not had their time by then. The capture
    /// deadline is never before it.
    #[must_use]
    pub fn postponed(self, moment: &Moment) -> Self {
        if moment.now < self.decision {
            return self;
        }
        let decision = self.decision.max(moment.participants_due.min(self.latest_decision));
        Self { decision, capture: self.capture.max(decision), ..self }
    }
}

/// A time at which an order is looked at, and whether the participants had the time that they should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub now: DateTime<Utc>,
    /// When the participants have had their time, whatever order it is: counted from when messages last began to flow, or
    /// from now while they do not.
    pub participants_due: DateTime<Utc>,
}

impl Moment {
    /// `patience` is the time that the participants have.
    #[must_use]
    pub fn new(now: DateTime<Utc>, flow: MessageFlow, patience: TimeDelta) -> Self {
        Self { now, participants_due: flow.since(now).unwrap_or(now) + patience }
    }

    /// Messages have always flowed: every deadline holds.
    #[must_use]
    pub fn without_outage(now: DateTime<Utc>) -> Self {
        Self { now, participants_due: DateTime::<Utc>::MIN_UTC }
    }
}

/// A note of when messages flowed: this service's events left it, and it consumed. It is kept in the database, so that it
/// outlives the process and is the same for every replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFlow {
    /// When they began to flow.
    pub since: DateTime<Utc>,
    /// When they were last seen to.
    pub seen_at: DateTime<Utc>,
}

impl MessageFlow {
    /// The note once messages are seen to flow.
    #[must_use]
    pub fn seen(self, now: DateTime<Utc>) -> Self {
        Self { since: self.since(now).unwrap_or(now), seen_at: now }
    }

    /// Since when they flow; `None` while they do not. A clock that was put back by much starts anew, too.
    #[must_use]
    pub fn since(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        ((now - self.seen_at).abs() <= MAX_GAP).then_some(self.since)
    }
}

impl Default for MessageFlow {
    /// They never flowed.
    fn default() -> Self {
        Self { since: DateTime::UNIX_EPOCH, seen_at: DateTime::UNIX_EPOCH }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(1) + TimeDelta::seconds(seconds)
    }

    const PATIENCE: TimeDelta = TimeDelta::seconds(30);

    /// The deadlines of an order that is placed at 0: 30 s, 600 s at most.
    fn deadlines() -> Deadlines {
        Deadlines { decision: at(30), latest_decision: at(600), capture: at(86_400) }
    }

    /// What becomes of them at `now` when messages flow from `since` to `seen_at`.
    fn decision(now: i64, since: i64, seen_at: i64) -> DateTime<Utc> {
        let flow = MessageFlow { since: at(since), seen_at: at(seen_at) };
        deadlines().postponed(&Moment::new(at(now), flow, PATIENCE)).decision
    }

    #[test]
    fn a_deadline_holds_while_messages_flow() {
        for now in [0, 29, 30, 31, 599] {
            assert_eq!(decision(now, -100, now), at(30), "at {now}");
        }
    }

    #[test]
    fn an_outage_postpones_a_deadline_that_has_come() {
        assert_eq!(decision(29, -100, 0), at(30), "it has not come");
        assert_eq!(decision(30, -100, 26), at(60), "messages do not flow");
        assert_eq!(decision(121, 120, 121), at(150), "they do again: from then on");
        assert_eq!(decision(33, 3, 33), at(33), "an outage right after placing");
    }

    #[test]
    fn no_outage_postpones_a_deadline_past_the_latest() {
        assert_eq!(decision(580, -100, 0), at(600));
        assert_eq!(decision(10_000, -100, 0), at(600));
        assert_eq!(decision(10_000, 9_999, 10_000), at(600));
    }

    #[test]
    fn the_capture_deadline_is_never_before_the_decision() {
        let short = Deadlines { capture: at(40), ..deadlines() };
        let postponed = short.postponed(&Moment::new(at(30), MessageFlow::default(), PATIENCE));
        assert_eq!((postponed.decision, postponed.capture), (at(60), at(60)));
    }

    #[test]
    fn a_gap_in_the_note_is_an_outage() {
        let mut flow = MessageFlow::default();
        assert_eq!(flow.since(at(0)), None);
        for (seen_at, since) in [(0, 0), (1, 0), (4, 0), (8, 8), (11, 8), (9, 8), (-100, -100)] {
            flow = flow.seen(at(seen_at));
            assert_eq!(flow, MessageFlow { since: at(since), seen_at: at(seen_at) });
        }
    }
}
