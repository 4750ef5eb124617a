//! The states of an order and of its two participants, stock and payment.

use contracts::{Event, EventType, InvalidValue};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use system::Service;

/// How far an order has come.
#[derive(Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case", const_into_str, parse_err_ty = InvalidValue, parse_err_fn = unknown_status)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Stock or money is still open.
    Pending,
    /// Stock is reserved and money is held.
    Confirmed,
    /// The money was captured.
    Completed,
    Cancelled,
}

/// What an order knows of its reservation.
#[derive(Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stock {
    /// Nothing yet.
    Open,
    Reserved,
    /// Nothing was reserved.
    Rejected,
    /// For sale again, or never to be reserved.
    Released,
}

/// What an order knows of its payment.
#[derive(Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payment {
    /// Nothing yet.
    Open,
    /// The money is held.
    Authorized,
    Captured,
    /// The money is held and could not be captured.
    CaptureFailed,
    /// Nothing was held.
    Declined,
    /// No longer held, or never to be held.
    Voided,
    Refunded,
}

fn unknown_status(text: &str) -> InvalidValue {
    InvalidValue::unknown("an order's status", text, Status::VARIANTS.iter().map(Status::into_str))
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
    /// not; what was captured is refunded, what was not is voided. A failed capture may turn out to have succeeded, when
    /// the processor refuses to void it. An event that comes late changes nothing.
    pub(crate) fn after(self, event: &Event) -> Option<Self> {
        use Event as E;
        use Payment::{Authorized, CaptureFailed, Captured, Declined, Open, Refunded, Voided};
        Some(match (self, event) {
            (Open, E::PaymentDeclined(_)) => Declined,
            (Open, E::PaymentAuthorized(_)) => Authorized,
            (Open | Authorized | CaptureFailed, E::PaymentCaptured(_)) => Captured,
            (Open | Authorized, E::PaymentCaptureFailed(_)) => CaptureFailed,
            (Open | Authorized | CaptureFailed | Voided, E::PaymentVoided(_)) => Voided,
            (Open | Authorized | Captured | CaptureFailed | Refunded, E::PaymentRefunded(_)) => Refunded,
            (Authorized | Captured | CaptureFailed | Voided | Refunded, E::PaymentAuthorized(_))
            | (Captured | Refunded, E::PaymentCaptured(_))
            | (Captured | CaptureFailed | Voided | Refunded, E::PaymentCaptureFailed(_)) => self,
            (_, event) if event.event_type().owner() == Service::Payment => return None,
            _ => self,
        })
    }

    /// Whether no money is held or captured any more, for good.
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
            (Status::Cancelled, Self::Authorized | Self::CaptureFailed) => {
                &[EventType::PaymentVoided, EventType::PaymentRefunded]
            }
            (Status::Cancelled, Self::Captured) => &[EventType::PaymentRefunded],
            _ => &[],
        }
    }
}
