//! The states of an order and of its two sides, stock and payment.
//!
//! A side only ever advances: what is heard late, after what follows it, does not set it back.

use std::{fmt, str::FromStr};

use contracts::{Event, EventType};

/// A closed list of states, each shown as and parsed from the word that stands in JSON and in the database.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// Its word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownState;

            fn from_str(word: &str) -> Result<Self, UnknownState> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownState([$($word),+].join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A word that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is none of {0}")]
pub struct UnknownState(String);

states! {
    /// How far an order has come.
    Status {
        /// Stock or money is still open.
        Pending = "pending",
        /// Both are there.
        Confirmed = "confirmed",
        /// The money was taken.
        Completed = "completed",
        /// It is off.
        Cancelled = "cancelled",
    }
}

states! {
    /// What an order knows of its stock.
    Stock {
        /// Nothing yet.
        Open = "open",
        /// Set aside.
        Reserved = "reserved",
        /// Refused; nothing was set aside.
        Rejected = "rejected",
        /// Back for sale, or never to be set aside.
        Released = "released",
    }
}

states! {
    /// What an order knows of its money.
    Payment {
        /// Nothing yet.
        Open = "open",
        /// Held.
        Authorized = "authorized",
        /// Taken.
        Captured = "captured",
        /// Held, and could not be taken.
        CaptureFailed = "capture_failed",
        /// Refused; nothing was held.
        Declined = "declined",
        /// No longer held, or never to be held.
        Voided = "voided",
        /// Taken and given back.
        Refunded = "refunded",
    }
}

impl Stock {
    /// The side after a fact; the same when the fact is of another matter or comes late.
    #[must_use]
    pub fn advanced_by(self, fact: &Event) -> Self {
        let next = match fact {
            Event::StockReserved(_) => Self::Reserved,
            Event::StockRejected(_) => Self::Rejected,
            Event::StockReleased(_) => Self::Released,
            _ => self,
        };
        if next.rank() > self.rank() { next } else { self }
    }

    /// Whether nothing is set aside any more, for good.
    #[must_use]
    pub fn closed(self) -> bool {
        matches!(self, Self::Rejected | Self::Released)
    }

    /// Whether a fact cannot be, now or earlier: all lines of an order are reserved or none.
    pub(crate) fn contradicts(self, fact: &Event) -> bool {
        match fact {
            Event::StockReserved(_) | Event::StockReleased(_) => self == Self::Rejected,
            Event::StockRejected(_) => matches!(self, Self::Reserved | Self::Released),
            _ => false,
        }
    }

    /// What a pending order waits for.
    pub(crate) fn answers(self) -> &'static [EventType] {
        match self {
            Self::Open => &[EventType::StockReserved, EventType::StockRejected],
            Self::Reserved | Self::Rejected | Self::Released => &[],
        }
    }

    /// What a cancelled order waits for.
    pub(crate) fn closings(self) -> &'static [EventType] {
        match self {
            Self::Open => &[EventType::StockRejected, EventType::StockReleased],
            Self::Reserved => &[EventType::StockReleased],
            Self::Rejected | Self::Released => &[],
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Reserved => 1,
            Self::Rejected | Self::Released => 2,
        }
    }
}

impl Payment {
    /// The side after a fact; the same when the fact is of another matter or comes late.
    #[must_use]
    pub fn advanced_by(self, fact: &Event) -> Self {
        let next = match fact {
            Event::PaymentAuthorized(_) => Self::Authorized,
            Event::PaymentDeclined(_) => Self::Declined,
            Event::PaymentCaptured(_) => Self::Captured,
            Event::PaymentCaptureFailed(_) => Self::CaptureFailed,
            Event::PaymentVoided(_) => Self::Voided,
            Event::PaymentRefunded(_) => Self::Refunded,
            _ => self,
        };
        if next.rank() > self.rank() { next } else { self }
    }

    /// Whether no money is held or taken any more, for good.
    #[must_use]
    pub fn closed(self) -> bool {
        matches!(self, Self::Declined | Self::Voided | Self::Refunded)
    }

    /// Whether a fact cannot be, now or earlier: money is held or refused, then taken or not; what was taken is
    /// given back, what was not is let go.
    pub(crate) fn contradicts(self, fact: &Event) -> bool {
        match fact {
            Event::PaymentDeclined(_) => self != Self::Open,
            Event::PaymentAuthorized(_) => self == Self::Declined,
            Event::PaymentCaptured(_) | Event::PaymentRefunded(_) => {
                matches!(self, Self::Declined | Self::CaptureFailed | Self::Voided)
            }
            Event::PaymentCaptureFailed(_) | Event::PaymentVoided(_) => {
                matches!(self, Self::Declined | Self::Captured | Self::Refunded)
            }
            _ => false,
        }
    }

    /// What a pending order waits for.
    pub(crate) fn answers(self) -> &'static [EventType] {
        match self {
            Self::Open => &[EventType::PaymentAuthorized, EventType::PaymentDeclined],
            _ => &[],
        }
    }

    /// What a confirmed order waits for.
    pub(crate) fn captures(self) -> &'static [EventType] {
        match self {
            Self::Authorized => &[EventType::PaymentCaptured, EventType::PaymentCaptureFailed],
            _ => &[],
        }
    }

    /// What a cancelled order waits for. An order that was cancelled while its money was being taken may still
    /// hear that it was, and then waits for the refund.
    pub(crate) fn closings(self) -> &'static [EventType] {
        match self {
            Self::Open => &[EventType::PaymentDeclined, EventType::PaymentVoided],
            Self::Authorized => &[EventType::PaymentVoided, EventType::PaymentRefunded],
            Self::Captured => &[EventType::PaymentRefunded],
            Self::CaptureFailed => &[EventType::PaymentVoided],
            Self::Declined | Self::Voided | Self::Refunded => &[],
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Authorized => 1,
            Self::Captured | Self::CaptureFailed => 2,
            Self::Declined | Self::Voided | Self::Refunded => 3,
        }
    }
}
