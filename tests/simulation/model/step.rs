//! What can happen to an order in the model.

use std::fmt;

use contracts::EventType;
use payment::domain::Action;
use system::Service;

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The customer cancels.
    Cancel,
    /// The deadline passes.
    Expire,
    /// A service consumes a message that was sent, for the first time or again.
    Consume(Service, EventType),
    /// The processor takes a call, and remembers its answer by the key; the flag says whether it does what is asked.
    Call(Action, bool),
    /// The processor's dashboard voids the hold, or the hold expires.
    EndHold,
    /// The processor's dashboard takes the money held.
    CaptureByHand,
    /// The payment service records the processor's answer to a call, for the first time or again.
    Record(Action),
}

impl Step {
    /// The service whose transaction it is; a call is in none.
    pub(super) fn service(self) -> Option<Service> {
        match self {
            Self::Cancel | Self::Expire => Some(Service::Order),
            Self::Consume(consumer, _) => Some(consumer),
            Self::Record(_) => Some(Service::Payment),
            Self::Call(..) | Self::EndHold | Self::CaptureByHand => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancel => f.write_str("the customer cancels"),
            Self::Expire => f.write_str("the deadline passes"),
            Self::Consume(consumer, event_type) => write!(f, "{consumer} consumes {event_type}"),
            Self::Call(action, true) => write!(f, "the processor does what it is asked to: {action}"),
            Self::Call(action, false) => write!(f, "the processor will not {action}"),
            Self::EndHold => f.write_str("the hold expires"),
            Self::CaptureByHand => f.write_str("the money is taken at the processor's dashboard"),
            Self::Record(action) => write!(f, "payment records the answer to: {action}"),
        }
    }
}
