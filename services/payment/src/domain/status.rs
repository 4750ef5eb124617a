//! The states of a payment, and the calls to the card processor.

use contracts::InvalidValue;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// How far a payment has come.
#[derive(Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str, parse_err_ty = InvalidValue, parse_err_fn = unknown_status)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nothing is known of the order yet.
    Placeholder,
    Authorizing,
    Authorized,
    /// The processor refused to hold the money. Final.
    Declined,
    Capturing,
    Captured,
    /// The money could not be captured; it is still held.
    CaptureFailed,
    Voiding,
    /// Nothing is held: the hold was voided, or the cancel overtook the order. Final.
    Voided,
    Refunding,
    /// The money was refunded. Final.
    Refunded,
}

/// A call to the card processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
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
    /// The call whose answer this state waits for.
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

fn unknown_status(text: &str) -> InvalidValue {
    InvalidValue::unknown("a payment's status", text, Status::VARIANTS.iter().map(Status::into_str))
}
