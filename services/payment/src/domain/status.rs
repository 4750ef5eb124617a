//! The states of a payment, and the calls to the card processor.

use std::{fmt, str::FromStr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nothing is known of the order yet.
    Placeholder,
    /// The processor is asked to hold the money.
    Authorizing,
    /// The money is held.
    Authorized,
    /// The processor refused to hold the money. Final.
    Declined,
    /// The processor is asked to capture the money it holds.
    Capturing,
    /// The money is captured.
    Captured,
    /// The money could not be captured; it is still held.
    CaptureFailed,
    /// The processor is asked to void its hold.
    Voiding,
    /// Nothing is held: the hold was voided, or the cancel overtook the order. Final.
    Voided,
    /// The processor is asked to refund the money.
    Refunding,
    /// The money was refunded. Final.
    Refunded,
}

/// A call to the card processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Hold the money.
    Authorize,
    /// Take the money held.
    Capture,
    /// Lift the hold.
    Void,
    /// Give the money taken back.
    Refund,
}

impl Status {
    /// Every one, in the order of a payment's life.
    pub const ALL: &[Self] = &[
        Self::Placeholder,
        Self::Authorizing,
        Self::Authorized,
        Self::Declined,
        Self::Capturing,
        Self::Captured,
        Self::CaptureFailed,
        Self::Voiding,
        Self::Voided,
        Self::Refunding,
        Self::Refunded,
    ];

    /// As it stands in JSON and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placeholder => "placeholder",
            Self::Authorizing => "authorizing",
            Self::Authorized => "authorized",
            Self::Declined => "declined",
            Self::Capturing => "capturing",
            Self::Captured => "captured",
            Self::CaptureFailed => "capture_failed",
            Self::Voiding => "voiding",
            Self::Voided => "voided",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
        }
    }

    /// The call whose answer this state waits for.
    #[must_use]
    pub fn awaits(self) -> Option<Action> {
        match self {
            Self::Authorizing => Some(Action::Authorize),
            Self::Capturing => Some(Action::Capture),
            Self::Voiding => Some(Action::Void),
            Self::Refunding => Some(Action::Refund),
            _ => None,
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|status| status.as_str() == word).copied();
        found.ok_or_else(|| {
            let words: Vec<_> = Self::ALL.iter().map(|status| status.as_str()).collect();
            format!("{word:?} is not a payment's status: {}", words.join(", "))
        })
    }
}

impl Action {
    /// As it stands in the idempotency key, the job and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
