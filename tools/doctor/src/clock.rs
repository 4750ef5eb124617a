//! How far another clock is from this machine's clock.

use chrono::{DateTime, TimeDelta, Utc};

/// A `Date` has whole seconds, and a server may make it up to a second before it is sent.
const DATE_STEP: TimeDelta = TimeDelta::seconds(2);

/// How far another clock is ahead of this one's (negative: behind), as closely as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    at_least: TimeDelta,
    at_most: TimeDelta,
}

impl Offset {
    /// From a reading of the other clock between two readings of this one.
    pub(super) fn of(read: DateTime<Utc>, asked: DateTime<Utc>, answered: DateTime<Utc>) -> Self {
        Self { at_least: read - answered, at_most: read - asked }
    }

    /// The same from the header `Date` of an HTTP answer, if it is valid.
    pub(super) fn of_date(date: &str, asked: DateTime<Utc>, answered: DateTime<Utc>) -> Option<Self> {
        let read = DateTime::parse_from_rfc2822(date).ok()?.to_utc();
        let Self { at_least, at_most } = Self::of(read, asked, answered);
        Some(Self { at_least, at_most: at_most + DATE_STEP })
    }

    /// A description of how far it is off, if that is more than `limit` for certain.
    pub(super) fn beyond(self, limit: TimeDelta) -> Option<String> {
        if self.at_least > limit {
            Some(format!("{} s ahead", self.at_least.num_seconds()))
        } else if self.at_most < -limit {
            Some(format!("{} s behind", -self.at_most.num_seconds()))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + milliseconds).expect("a time")
    }

    fn beyond_a_second(offset: Offset) -> Option<String> {
        offset.beyond(TimeDelta::seconds(1))
    }

    #[test]
    fn a_clock_is_off_only_beyond_the_time_of_asking() {
        assert_eq!(beyond_a_second(Offset::of(at(1_000), at(0), at(20))), None);
        assert_eq!(beyond_a_second(Offset::of(at(2_050), at(0), at(20))), Some("2 s ahead".to_owned()));
        assert_eq!(beyond_a_second(Offset::of(at(-1_990), at(0), at(20))), Some("1 s behind".to_owned()));
        assert_eq!(beyond_a_second(Offset::of(at(5_000), at(0), at(5_000))), None, "it answered late");
    }

    #[test]
    fn a_date_is_only_precise_to_the_second() {
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        let offset = |asked| Offset::of_date(date, at(asked), at(asked + 10)).expect("a date");
        for (asked, beyond) in [
            (0, None),
            (2_900, None),
            (3_100, Some("1 s behind")),
            (-900, None),
            (-1_500, Some("1 s ahead")),
            (-3_600_000, Some("3599 s ahead")),
        ] {
            assert_eq!(beyond_a_second(offset(asked)).as_deref(), beyond, "{asked}");
        }
        assert_eq!(Offset::of_date("yesterday", at(0), at(10)), None);
    }
}
