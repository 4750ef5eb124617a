//! The states of an order and of its two participants, stock and payment.

use std::{fmt, str::FromStr};

use contracts::{Event, EventType};
use system::Service;

/// A closed list of states, each shown as and parsed from its text in JSON and in the database.
macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// As it stands in JSON and in the database.
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

/// A text that is not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {0}")]
pub struct UnknownState(String);

states! {
    /// How far an order has come.
    Status {
        /// Stock or money is still open.
        Pending = "pending",
        /// Stock is reserved and money is held.
        Confirmed = "confirmed",
        /// The money was captured.
        Completed = "completed",
        Cancelled = "cancelled",
    }
}

states! {
    /// What an order knows of its reservation.
    Stock {
        /// Nothing yet.
        Open = "open",
        Reserved = "reserved",
        /// Nothing was reserved.
        Rejected = "rejected",
        /// For sale again, or never to be reserved.
        Released = "released",
    }
}

states! {
    /// What an order knows of its payment.
    Payment {
        /// Nothing yet.
        Open = "open",
        /// The money is held.
        Authorized = "authorized",
        Captured = "captured",
        /// The money is held and could not be captured.
        CaptureFailed = "capture_failed",
        /// Nothing was held.
        Declined = "declined",
        /// No longer held, or never to be held.
        Voided = "voided",
        Refunded = "refunded",
    }
}

impl Stock {
    /// The stock after an event; `None` when the event contradicts it: all lines of an order are reserved or none.
    /// An event that comes late, after what follows it, changes nothing.
    pub(crate) fn after(self, event: &Event) -> Option<Self> {
        use Stock::{Open, Rejected, Released, Reserved};
        Some(match (self, event) {
            (Open, Event::StockReserved(_)) => Reserved,
            (Open | Rejected, Event::StockRejected(_)) => Rejected,
            (Open | Reserved | Released, Event::StockReleased(_)) => Released,
            (Reserved | Released, Event::StockReserved(_)) => self,
            (_, Event::StockReserved(_) | Event::StockRejected(_) | Event::StockReleased(_)) => return None,
            _ => self,
        })
    }

    /// Whether nothing is reserved any more, for good.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Rejected | Self::Released)
    }

    /// The events of inventory that an order of this status waits for: one of them comes.
    pub(crate) fn awaited(self, status: Status) -> &'static [EventType] {
        match (status, self) {
            (Status::Pending, Self::Open) => &[EventType::StockReserved, EventType::StockRejected],
            (Status::Cancelled, Self::Open) => &[EventType::StockRejected, EventType::StockReleased],
            (Status::Cancelled, Self::Reserved) => &[EventType::StockReleased],
            _ => &[],
        }
    }
}

impl Payment {
    /// The payment after an event; `None` when the event contradicts it: money is held or refused, then captured or
    /// not; what was captured is refunded, what was not is voided. An event that comes late changes nothing.
    pub(crate) fn after(self, event: &Event) -> Option<Self> {
        use Event as E;
        use Payment::{Authorized, CaptureFailed, Captured, Declined, Open, Refunded, Voided};
        Some(match (self, event) {
            (Open, E::PaymentDeclined(_)) => Declined,
            (Open, E::PaymentAuthorized(_)) => Authorized,
            (Open | Authorized, E::PaymentCaptured(_)) => Captured,
            (Open | Authorized, E::PaymentCaptureFailed(_)) => CaptureFailed,
            (Open | Authorized | CaptureFailed | Voided, E::PaymentVoided(_)) => Voided,
            (Open | Authorized | Captured | Refunded, E::PaymentRefunded(_)) => Refunded,
            (Authorized | Captured | CaptureFailed | Voided | Refunded, E::PaymentAuthorized(_))
            | (Captured | Refunded, E::PaymentCaptured(_))
            | (CaptureFailed | Voided, E::PaymentCaptureFailed(_)) => self,
            (_, event) if event.event_type().owner() == Service::Payment => return None,
            _ => self,
        })
    }

    /// Whether no money is held or captured any more, for good.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Declined | Self::Voided | Self::Refunded)
    }

    /// The events of payment that an order of this status waits for: one of them comes. An order that was cancelled
    /// during the capture may still learn that it succeeded, and then waits for the refund.
    pub(crate) fn awaited(self, status: Status) -> &'static [EventType] {
        match (status, self) {
            (Status::Pending, Self::Open) => &[EventType::PaymentAuthorized, EventType::PaymentDeclined],
            (Status::Confirmed, Self::Authorized) => {
                &[EventType::PaymentCaptured, EventType::PaymentCaptureFailed]
            }
            (Status::Cancelled, Self::Open) => &[EventType::PaymentDeclined, EventType::PaymentVoided],
            (Status::Cancelled, Self::Authorized) => &[EventType::PaymentVoided, EventType::PaymentRefunded],
            (Status::Cancelled, Self::Captured) => &[EventType::PaymentRefunded],
            (Status::Cancelled, Self::CaptureFailed) => &[EventType::PaymentVoided],
            _ => &[],
        }
    }
}
