//! The payment of one order: what it can be, and how it reacts to the order's events and to the processor's answers.
//!
//! Pure. [`react`] is the whole life of a payment in one `match`. Two rules complete it:
//! - to enter a state that [awaits](Status::awaits) an answer is to make that call, so no payment waits for nothing;
//! - an answer is published and posted whatever state it leads to, so that a cancelled order settles.

use std::cmp::Ordering;

use contracts::{
    Event, InvalidTransition, Money, OrderId, PaymentAuthorized, PaymentCaptureFailed, PaymentCaptured,
    PaymentDeclined, PaymentMethod, PaymentRefunded, PaymentVoided,
};
use strum::IntoStaticStr;
use uuid::Uuid;

use crate::ledger::{Posting, PostingKind};

pub use status::{Action, Status};

mod status;

/// What an order costs, and how it is paid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    pub amount: Money,
    pub method: PaymentMethod,
}

/// How much of a payment's amount was captured and given back, in minor units of its currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Moved {
    pub captured_minor: i64,
    /// At most what was captured.
    pub refunded_minor: i64,
    /// The number of refunds that this is the sum of.
    pub refunds: i32,
}

/// The payment of one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Payment {
    /// An order has one payment.
    pub order_id: OrderId,
    /// Derived from the order's id, so that a database that lost it makes the same one again.
    pub payment_id: Uuid,
    pub status: Status,
    /// The order was cancelled during a call: its answer decides what is to be undone.
    pub cancel_requested: bool,
    /// Known once `order.placed` was consumed; a tombstone has none.
    pub terms: Option<Terms>,
    /// The processor's id for its hold, once it holds the money.
    pub authorization_id: Option<String>,
    /// Why the processor refused to hold or to take the money.
    pub reason: Option<String>,
    pub moved: Moved,
    /// The number of changes; also the aggregate version of the events that each published.
    pub version: i64,
}

/// A definite answer of the processor, or what it says of the authorization when asked. A call that timed out has none,
/// and is made again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Answer {
    /// It holds the money.
    Approved { authorization_id: String },
    /// It will not hold the money.
    Declined { reason: String },
    /// It took this much of the money.
    Captured { amount: Money },
    /// It did not take the money and never will.
    #[strum(serialize = "capture failed")]
    CaptureFailed { reason: String },
    /// It holds nothing: it lifted its hold, or the hold expired.
    Voided,
    /// It gave this much of the money back, which may be a part. Refunds are numbered from 1.
    Refunded { amount: Money, number: i32 },
}

/// What a payment reacts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Placed(Terms),
    Confirmed,
    Cancelled,
    /// `order.cancelled`, and the call to authorize was withdrawn before it was ever made.
    Withdrawn,
    /// A call ended.
    Answered(Answer),
}

/// What a payment becomes, and what follows from that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The payment afterwards; the same version means that nothing changed.
    pub next: Payment,
    /// To publish, with the version of the payment.
    pub events: Vec<Event>,
    pub jobs: Vec<Action>,
    /// How much money moved, and how.
    pub postings: Vec<Posting>,
}

/// What the payment becomes by the input. A repeat changes nothing.
///
/// # Errors
/// [`InvalidTransition`] for an event that nothing before it can have led to, and for an answer to a call that was never
/// made or that contradicts an earlier answer.
pub fn react(payment: &Payment, input: &Input) -> Result<Transition, InvalidTransition> {
    use {Answer as A, Input as I, Status as S};
    let cancelled = payment.cancel_requested;
    let next = match (payment.status, input) {
        (S::Placeholder, I::Placed(_)) => S::Authorizing,
        (S::Placeholder, I::Cancelled) | (S::Authorizing, I::Withdrawn) => S::Voided,

        (S::Authorizing, I::Answered(A::Approved { .. })) if cancelled => S::Voiding,
        (S::Authorizing, I::Answered(A::Approved { .. })) => S::Authorized,
        (S::Authorizing, I::Answered(A::Declined { .. })) => S::Declined,

        (S::Authorized, I::Confirmed) => S::Capturing,
        (S::Authorized, I::Cancelled) => S::Voiding,

        (S::Capturing, I::Answered(A::Captured { .. })) if cancelled => S::Refunding,
        (S::Capturing, I::Answered(A::Captured { .. })) => S::Captured,
        (S::Capturing, I::Answered(A::CaptureFailed { .. })) if cancelled => S::Voiding,
        (S::Capturing, I::Answered(A::CaptureFailed { .. })) => S::CaptureFailed,

        (S::Captured, I::Cancelled) => S::Refunding,
        (S::CaptureFailed, I::Cancelled) => S::Voiding,
        (S::Voiding, I::Answered(A::Voided)) => S::Voided,
        // The void was refused, and the processor says why: it has taken the money.
        (S::Voiding, I::Answered(A::Captured { .. })) => S::Refunding,
        (S::Refunding, I::Answered(A::Refunded { amount, number }))
            if *number == payment.moved.refunds + 1 =>
        {
            match payment.moved.to_refund().cmp(&amount.amount_minor) {
                Ordering::Equal => S::Refunded,
                // A part of it: what is left is the next refund.
                Ordering::Greater => S::Refunding,
                Ordering::Less => return Err(invalid(payment, input)),
            }
        }

        // A call under way cannot be stopped: its answer tells what to undo.
        (S::Authorizing | S::Capturing, I::Cancelled) if !cancelled => return Ok(note_cancel(payment)),

        (_, input) if is_known(payment, input) => return Ok(nothing(payment)),
        _ => return Err(invalid(payment, input)),
    };
    enter(payment, next, input)
}

/// Whether the payment has taken the input before, or has nothing left to do about it.
fn is_known(payment: &Payment, input: &Input) -> bool {
    use {Answer as A, Input as I, Status as S};
    let status = payment.status;
    match input {
        I::Placed(_) => status != S::Placeholder,
        I::Confirmed => !matches!(status, S::Placeholder | S::Authorizing | S::Authorized | S::Declined),
        I::Cancelled => !matches!(status, S::Placeholder | S::Authorized | S::Captured | S::CaptureFailed),
        I::Withdrawn => false,
        I::Answered(A::Approved { .. }) => !matches!(status, S::Placeholder | S::Authorizing | S::Declined),
        I::Answered(A::Declined { .. }) => status == S::Declined,
        I::Answered(A::Captured { .. }) => matches!(status, S::Captured | S::Refunding | S::Refunded),
        // After a failed capture the void may have found the money taken.
        I::Answered(A::CaptureFailed { .. }) => {
            matches!(status, S::CaptureFailed | S::Voiding | S::Voided | S::Refunding | S::Refunded)
        }
        I::Answered(A::Voided) => status == S::Voided,
        I::Answered(A::Refunded { number, .. }) => *number <= payment.moved.refunds,
    }
}

fn nothing(payment: &Payment) -> Transition {
    Transition { next: payment.clone(), events: Vec::new(), jobs: Vec::new(), postings: Vec::new() }
}

fn note_cancel(payment: &Payment) -> Transition {
    let version = payment.version + 1;
    nothing(&Payment { cancel_requested: true, version, ..payment.clone() })
}

fn enter(before: &Payment, status: Status, input: &Input) -> Result<Transition, InvalidTransition> {
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
        Input::Answered(Answer::Captured { amount }) => payment.moved.captured_minor = amount.amount_minor,
        Input::Answered(Answer::Refunded { amount, number }) => {
            payment.moved.refunded_minor += amount.amount_minor;
            payment.moved.refunds = *number;
        }
        _ => {}
    }
    let (event, posting) = match input {
        Input::Answered(answer) => recorded(&payment, input, answer)?,
        Input::Cancelled | Input::Withdrawn if status == Status::Voided => {
            let Payment { order_id, payment_id, .. } = payment;
            (Some(PaymentVoided { order_id, payment_id }.into()), None)
        }
        Input::Placed(_) | Input::Confirmed | Input::Cancelled | Input::Withdrawn => (None, None),
    };
    Ok(Transition {
        next: payment,
        events: event.into_iter().collect(),
        jobs: status.awaits().into_iter().collect(),
        postings: posting.into_iter().collect(),
    })
}

/// What is published and posted about an answer.
fn recorded(
    payment: &Payment,
    input: &Input,
    answer: &Answer,
) -> Result<(Option<Event>, Option<Posting>), InvalidTransition> {
    let Payment { order_id, payment_id, .. } = *payment;
    let held = || amount(payment, input);
    let posted = |kind, amount| Some(Posting { kind, number: 1, amount });
    let (event, posting): (Event, _) = match answer {
        Answer::Approved { .. } => (
            PaymentAuthorized { order_id, payment_id, amount: held()? }.into(),
            posted(PostingKind::Authorized, held()?),
        ),
        Answer::Declined { reason } => {
            (PaymentDeclined { order_id, payment_id, reason: reason.clone() }.into(), None)
        }
        Answer::Captured { amount } => (
            PaymentCaptured { order_id, payment_id, amount: amount.clone() }.into(),
            posted(PostingKind::Captured, amount.clone()),
        ),
        Answer::CaptureFailed { reason } => {
            (PaymentCaptureFailed { order_id, payment_id, reason: reason.clone() }.into(), None)
        }
        Answer::Voided => {
            (PaymentVoided { order_id, payment_id }.into(), posted(PostingKind::Voided, held()?))
        }
        Answer::Refunded { amount, number } => (
            PaymentRefunded { order_id, payment_id, amount: amount.clone() }.into(),
            Some(Posting { kind: PostingKind::Refunded, number: *number, amount: amount.clone() }),
        ),
    };
    Ok((Some(event), posting))
}

/// A payment that waits for an answer knows its amount.
fn amount(payment: &Payment, input: &Input) -> Result<Money, InvalidTransition> {
    let terms = payment.terms.as_ref().ok_or_else(|| invalid(payment, input))?;
    Ok(terms.amount.clone())
}

fn invalid(payment: &Payment, input: &Input) -> InvalidTransition {
    let id = format!("{} of order {}", payment.payment_id, payment.order_id);
    InvalidTransition::new("payment", id, payment.status, input.name())
}

impl Payment {
    /// The payment of an order that nothing is known of yet.
    #[must_use]
    pub fn placeholder(order_id: OrderId) -> Self {
        Self {
            order_id,
            payment_id: Uuid::new_v5(&order_id.0, b"payment"),
            status: Status::Placeholder,
            cancel_requested: false,
            terms: None,
            authorization_id: None,
            reason: None,
            moved: Moved::default(),
            version: 0,
        }
    }
}

impl Moved {
    /// How much of what was captured is not given back.
    pub fn to_refund(self) -> i64 {
        self.captured_minor - self.refunded_minor
    }
}

impl Input {
    /// The event as an input; `None` for an event that the service does not consume.
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

    /// Its name in the transition table and in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Placed(_) => "order.placed",
            Self::Confirmed => "order.confirmed",
            Self::Cancelled => "order.cancelled",
            Self::Withdrawn => "withdrawn",
            Self::Answered(answer) => answer.into_str(),
        }
    }
}

#[cfg(test)]
mod tests;
