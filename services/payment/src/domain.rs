//! The payment of one order: what it can be, and how it reacts to what it hears and to the processor's answers.
//!
//! Pure: no clock, no ids of its own making, no IO. [`react`] is the whole life of a payment in one `match`.
//! Two rules complete it:
//! - who enters a state that [awaits](Status::awaits) an answer makes that call, so no payment waits for nothing;
//! - an answer is announced and posted whatever state it leads to, so a cancelled order hears it too.

use std::fmt;

use contracts::{
    Event, Money, OrderId, PaymentAuthorized, PaymentCaptureFailed, PaymentCaptured, PaymentDeclined,
    PaymentMethod, PaymentRefunded, PaymentVoided,
};
use uuid::Uuid;

use crate::ledger::Posting;

pub use status::{Action, Status};

mod status;

/// What the order is to cost, and how it is paid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    /// The order's total.
    pub amount: Money,
    /// How it is paid.
    pub method: PaymentMethod,
}

/// The payment of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Payment {
    /// The order, one payment each.
    pub order_id: OrderId,
    /// Its own id; part of every idempotency key that the processor sees.
    pub payment_id: Uuid,
    /// How far it is.
    pub status: Status,
    /// The order was cancelled while a call is under way: its answer decides what is to be undone.
    pub cancel_requested: bool,
    /// Known once `order.placed` was heard; a tombstone has none.
    pub terms: Option<Terms>,
    /// The processor's id for its hold, once it holds the money.
    pub authorization_id: Option<String>,
    /// Why the processor refused to hold or to take the money.
    pub reason: Option<String>,
    /// Counts the changes; the aggregate version of what was announced with each.
    pub version: i64,
}

/// A definite answer of the processor. No answer is none: a call that timed out is made again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It holds the money.
    Approved {
        /// The processor's id for the hold.
        authorization_id: String,
    },
    /// It will not hold the money.
    Declined {
        /// The processor's word for why.
        reason: String,
    },
    /// It took the money.
    Captured,
    /// It could not take the money, and still holds it.
    CaptureFailed {
        /// The processor's word for why.
        reason: String,
    },
    /// It lifted its hold.
    Voided,
    /// It gave the money back.
    Refunded,
}

/// What a payment reacts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `order.placed`
    Placed(Terms),
    /// `order.confirmed`
    Confirmed,
    /// `order.cancelled`
    Cancelled,
    /// A call ended.
    Answered(Answer),
}

/// What follows from an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// The payment afterwards; the same version means that nothing changed.
    pub payment: Payment,
    /// What the others are told; its aggregate version is the version of the payment.
    pub announce: Option<Event>,
    /// What the processor is asked to do next.
    pub call: Option<Action>,
    /// How the money moved, and how much.
    pub posting: Option<(Posting, Money)>,
}

/// An input that cannot come in this state: somebody is wrong, and nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTransition {
    payment_id: Uuid,
    order_id: OrderId,
    status: Status,
    input: &'static str,
}

/// What the payment becomes by the input, and what follows. A repeat of a fact changes nothing.
///
/// # Errors
/// [`InvalidTransition`] for a fact that nothing before it can have led to, and for an answer to a call that was never
/// made or that contradicts an earlier answer.
pub fn react(payment: &Payment, input: &Input) -> Result<Reaction, InvalidTransition> {
    use {Answer as A, Input as I, Status as S};
    let cancelled = payment.cancel_requested;
    let next = match (payment.status, input) {
        (S::Blank, I::Placed(_)) => S::Authorizing,
        (S::Blank, I::Cancelled) => S::Voided,

        (S::Authorizing, I::Answered(A::Approved { .. })) if cancelled => S::Voiding,
        (S::Authorizing, I::Answered(A::Approved { .. })) => S::Authorized,
        (S::Authorizing, I::Answered(A::Declined { .. })) => S::Declined,

        (S::Authorized, I::Confirmed) => S::Capturing,
        (S::Authorized, I::Cancelled) => S::Voiding,

        (S::Capturing, I::Answered(A::Captured)) if cancelled => S::Refunding,
        (S::Capturing, I::Answered(A::Captured)) => S::Captured,
        (S::Capturing, I::Answered(A::CaptureFailed { .. })) if cancelled => S::Voiding,
        (S::Capturing, I::Answered(A::CaptureFailed { .. })) => S::CaptureFailed,

        (S::Captured, I::Cancelled) => S::Refunding,
        (S::CaptureFailed, I::Cancelled) => S::Voiding,
        (S::Voiding, I::Answered(A::Voided)) => S::Voided,
        (S::Refunding, I::Answered(A::Refunded)) => S::Refunded,

        // What is under way cannot be called back: its answer tells what to undo.
        (S::Authorizing | S::Capturing, I::Cancelled) if !cancelled => return Ok(note_cancel(payment)),

        (status, input) if is_known(status, input) => return Ok(nothing(payment)),
        _ => return Err(InvalidTransition::at(payment, input)),
    };
    enter(payment, next, input)
}

/// Whether a payment in this state has heard the input before, or has nothing left to do about it.
fn is_known(status: Status, input: &Input) -> bool {
    use {Answer as A, Input as I, Status as S};
    match input {
        I::Placed(_) => status != S::Blank,
        I::Confirmed => !matches!(status, S::Blank | S::Authorizing | S::Authorized | S::Declined),
        I::Cancelled => !matches!(status, S::Blank | S::Authorized | S::Captured | S::CaptureFailed),
        I::Answered(A::Approved { .. }) => !matches!(status, S::Blank | S::Authorizing | S::Declined),
        I::Answered(A::Declined { .. }) => status == S::Declined,
        I::Answered(A::Captured) => matches!(status, S::Captured | S::Refunding | S::Refunded),
        I::Answered(A::CaptureFailed { .. }) => matches!(status, S::CaptureFailed | S::Voiding | S::Voided),
        I::Answered(A::Voided) => status == S::Voided,
        I::Answered(A::Refunded) => status == S::Refunded,
    }
}

fn nothing(payment: &Payment) -> Reaction {
    Reaction { payment: payment.clone(), announce: None, call: None, posting: None }
}

fn note_cancel(payment: &Payment) -> Reaction {
    let version = payment.version + 1;
    nothing(&Payment { cancel_requested: true, version, ..payment.clone() })
}

fn enter(before: &Payment, status: Status, input: &Input) -> Result<Reaction, InvalidTransition> {
    let version = before.version + 1;
    let mut payment = Payment { status, cancel_requested: false, version, ..before.clone() };
    match input {
        Input::Placed(terms) => payment.terms = Some(terms.clone()),
        Input::Answered(Answer::Approved { authorization_id }) => {
            payment.authorization_id = Some(authorization_id.clone());
        }
        Input::Answered(Answer::Declined { reason } | Answer::CaptureFailed { reason }) => {
            payment.reason = Some(reason.clone());
        }
        _ => {}
    }
    let announce = announcement(&payment, input)?;
    let posting = match input.posting() {
        Some(posting) => Some((posting, amount(&payment, input)?)),
        None => None,
    };
    Ok(Reaction { payment, announce, call: status.awaits(), posting })
}

/// What the others are told of an answer, or of a cancel that left nothing to undo.
fn announcement(payment: &Payment, input: &Input) -> Result<Option<Event>, InvalidTransition> {
    let Payment { order_id, payment_id, .. } = *payment;
    let amount = || amount(payment, input);
    let event = match input {
        Input::Cancelled if payment.status == Status::Voided => PaymentVoided { order_id, payment_id }.into(),
        Input::Placed(_) | Input::Confirmed | Input::Cancelled => return Ok(None),
        Input::Answered(answer) => match answer {
            Answer::Approved { .. } => PaymentAuthorized { order_id, payment_id, amount: amount()? }.into(),
            Answer::Declined { reason } => {
                PaymentDeclined { order_id, payment_id, reason: reason.clone() }.into()
            }
            Answer::Captured => PaymentCaptured { order_id, payment_id, amount: amount()? }.into(),
            Answer::CaptureFailed { reason } => {
                PaymentCaptureFailed { order_id, payment_id, reason: reason.clone() }.into()
            }
            Answer::Voided => PaymentVoided { order_id, payment_id }.into(),
            Answer::Refunded => PaymentRefunded { order_id, payment_id, amount: amount()? }.into(),
        },
    };
    Ok(Some(event))
}

/// What the payment is about: whoever waits for an answer knows it.
fn amount(payment: &Payment, input: &Input) -> Result<Money, InvalidTransition> {
    let terms = payment.terms.as_ref().ok_or_else(|| InvalidTransition::at(payment, input))?;
    Ok(terms.amount.clone())
}

impl Payment {
    /// The payment of an order that nothing is known of yet.
    #[must_use]
    pub fn placeholder(order_id: OrderId, payment_id: Uuid) -> Self {
        Self {
            order_id,
            payment_id,
            status: Status::Blank,
            cancel_requested: false,
            terms: None,
            authorization_id: None,
            reason: None,
            version: 0,
        }
    }
}

impl Input {
    /// The event as an input; none for an event that the service does not hear.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::OrderPlaced(placed) => Some(Self::Placed(Terms {
                amount: placed.total.clone(),
                method: placed.payment_method.clone(),
            })),
            Event::OrderConfirmed(_) => Some(Self::Confirmed),
            Event::OrderCancelled(_) => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// What it is called in the matrix and in messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Placed(_) => "order.placed",
            Self::Confirmed => "order.confirmed",
            Self::Cancelled => "order.cancelled",
            Self::Answered(Answer::Approved { .. }) => "approved",
            Self::Answered(Answer::Declined { .. }) => "declined",
            Self::Answered(Answer::Captured) => "captured",
            Self::Answered(Answer::CaptureFailed { .. }) => "capture failed",
            Self::Answered(Answer::Voided) => "voided",
            Self::Answered(Answer::Refunded) => "refunded",
        }
    }

    /// How money moves by it.
    fn posting(&self) -> Option<Posting> {
        match self {
            Self::Answered(Answer::Approved { .. }) => Some(Posting::Authorized),
            Self::Answered(Answer::Captured) => Some(Posting::Captured),
            Self::Answered(Answer::Voided) => Some(Posting::Voided),
            Self::Answered(Answer::Refunded) => Some(Posting::Refunded),
            _ => None,
        }
    }
}

impl InvalidTransition {
    fn at(payment: &Payment, input: &Input) -> Self {
        let Payment { payment_id, order_id, status, .. } = *payment;
        Self { payment_id, order_id, status, input: input.name() }
    }
}

impl fmt::Display for InvalidTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payment_id, order_id, status, input } = self;
        let status = status.as_str();
        write!(f, "payment {payment_id} of order {order_id} is {status} and cannot hear {input:?}")
    }
}

impl std::error::Error for InvalidTransition {}

#[cfg(test)]
mod tests;
