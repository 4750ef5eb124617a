//! The processor's books: the outcome of each idempotency key, and the status of each authorization.
//!
//! [`Books::decide`] says what a call would do, as an [`Entry`]; [`Books::apply`] does it. An entry is also
//! a line of the journal, so that applying all lines again gives the same books.

mod report;
mod values;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use strum::Display;
use uuid::Uuid;

use report::RunningSums;
pub use report::{Item, ItemKey, Report, Sums};
pub use values::{Amount, Currency, MerchantReference, PaymentMethod};

/// What an authorization has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    Authorized,
    Captured,
    Voided,
    /// The amount was taken, and all of it given back.
    Refunded,
    /// The hold ended by itself.
    Expired,
}

/// What a merchant asks for in order to hold an amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAuthorization {
    pub merchant_reference: MerchantReference,
    pub amount_minor: Amount,
    pub currency: Currency,
    pub payment_method: PaymentMethod,
}

/// An amount that is or was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    pub id: Uuid,
    pub status: Status,
    /// How much of what was taken was given back.
    #[serde(default)]
    pub refunded_minor: i64,
    #[serde(flatten)]
    pub asked: NewAuthorization,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Capture,
    Void,
    /// Give back what was taken, or a part of it.
    Refund,
    /// The hold ends by itself: nobody asks for it.
    Expire,
}

/// A call that may change something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Authorize(NewAuthorization),
    /// Do something to an authorization.
    Change {
        id: Uuid,
        operation: Operation,
        /// How much; all of it where the call does not say.
        #[serde(default)]
        amount: Option<Amount>,
    },
}

/// Why the card's bank says no. Definite: the same key gets the same answer for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Decline {
    /// The bank gives no reason.
    CardDeclined,
    /// The account does not hold as much.
    InsufficientFunds,
    /// What was held cannot be taken.
    CaptureFailed,
    UnknownPaymentMethod,
}

/// The definite result of a call: every repeat with the same key gets it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done; this is the authorization right after it.
    Approved(Authorization),
    /// The bank said no; nothing changed.
    Declined(Decline),
}

/// How far the processor has come with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    Received { at: DateTime<Utc> },
    Answered(Outcome),
}

/// Something that happened: a line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    #[serde(default)]
    pub at: DateTime<Utc>,
    pub request: Request,
    pub progress: Progress,
}

/// What the caller gets to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Outcome(Outcome),
    Silence,
}

/// What a call does, and what its caller sees of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub entry: Option<Entry>,
    pub reply: Reply,
}

/// Why a call is refused. Nothing is remembered of it: the same key may be tried again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the idempotency key was used with another request")]
    KeyReused,
    #[error("there is no such authorization")]
    Unknown,
    #[error("the authorization is {0}")]
    NotAllowed(Status),
    /// It is not the amount held, or more than is left to give back.
    #[error("the authorization does not allow this amount")]
    Amount,
}

/// How long a key is remembered: another call with it after that is a new one.
pub const KEY_RETENTION: TimeDelta = TimeDelta::hours(24);

/// Everything that the processor knows.
#[derive(Debug, Default)]
pub struct Books {
    /// What is remembered of each key.
    calls: HashMap<String, Entry>,
    authorizations: HashMap<Uuid, Authorization>,
    by_reference: BTreeMap<MerchantReference, Vec<Uuid>>,
    sums: RunningSums,
}

impl Books {
    /// What a call does that comes in `now`. `fresh_id` names the authorization if it makes one; `down_for`
    /// is how long [`PaymentMethod::Down`] stays silent.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn decide(
        &self,
        key: &str,
        request: &Request,
        fresh_id: Uuid,
        now: DateTime<Utc>,
        down_for: Duration,
    ) -> Result<Decision, Refusal> {
        let known = self.calls.get(key).filter(|call| now < call.at + KEY_RETENTION);
        let received_at = match known.map(|call| (&call.request, &call.progress)) {
            Some((known, _)) if known != request => return Err(Refusal::KeyReused),
            Some((_, Progress::Answered(answer))) => {
                return Ok(Decision { entry: None, reply: Reply::Outcome(answer.clone()) });
            }
            Some((_, Progress::Received { at })) => Some(*at),
            None => None,
        };
        let entry = |progress| Entry { key: key.to_owned(), at: now, request: request.clone(), progress };
        if is_silent(request, received_at, now, down_for) {
            let first = received_at.is_none().then(|| entry(Progress::Received { at: now }));
            return Ok(Decision { entry: first, reply: Reply::Silence });
        }
        let answer = self.answer(request, fresh_id)?;
        let reply = match request {
            Request::Authorize(asked) if asked.payment_method == PaymentMethod::ChargedThenTimeout => {
                Reply::Silence
            }
            _ => Reply::Outcome(answer.clone()),
        };
        Ok(Decision { entry: Some(entry(Progress::Answered(answer))), reply })
    }

    /// Writes what happened into the books.
    pub fn apply(&mut self, entry: Entry) {
        if let Progress::Answered(Outcome::Approved(authorization)) = &entry.progress {
            let id = authorization.id;
            let before = self.authorizations.insert(id, authorization.clone());
            self.sums.replace(before.as_ref(), authorization);
            if before.is_none() {
                let reference = authorization.asked.merchant_reference.clone();
                self.by_reference.entry(reference).or_default().push(id);
            }
        }
        self.calls.insert(entry.key.clone(), entry);
    }

    /// An authorization, if there is one of this id.
    pub fn authorization(&self, id: Uuid) -> Option<&Authorization> {
        self.authorizations.get(&id)
    }

    /// The authorizations of a merchant reference, the oldest first.
    pub fn of_reference(&self, reference: &MerchantReference) -> Vec<&Authorization> {
        let ids = self.by_reference.get(reference).into_iter().flatten();
        ids.filter_map(|id| self.authorizations.get(id)).collect()
    }

    /// What was really held, taken and given back: for one merchant reference, or for all.
    pub fn report(&self, reference: Option<&MerchantReference>) -> Report {
        self.report_page(reference, None, usize::MAX)
    }

    /// The same from after a place in the report, with up to `rows` items.
    pub fn report_page(
        &self,
        reference: Option<&MerchantReference>,
        after: Option<&ItemKey>,
        rows: usize,
    ) -> Report {
        self.sums.report(reference, after, rows)
    }

    fn answer(&self, request: &Request, fresh_id: Uuid) -> Result<Outcome, Refusal> {
        match request {
            Request::Authorize(asked) => Ok(match asked.payment_method {
                PaymentMethod::CardDeclined => Outcome::Declined(Decline::CardDeclined),
                PaymentMethod::InsufficientFunds => Outcome::Declined(Decline::InsufficientFunds),
                PaymentMethod::Unknown => Outcome::Declined(Decline::UnknownPaymentMethod),
                _ => {
                    let (status, asked) = (Status::Authorized, asked.clone());
                    Outcome::Approved(Authorization { id: fresh_id, status, refunded_minor: 0, asked })
                }
            }),
            Request::Change { id, operation, amount } => {
                change(self.authorizations.get(id).ok_or(Refusal::Unknown)?, *operation, *amount)
            }
        }
    }
}

/// Whether a call meets silence, with nothing done. `received_at` is when it came first, if it came before.
fn is_silent(
    request: &Request,
    received_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    down_for: Duration,
) -> bool {
    let Request::Authorize(asked) = request else {
        return false;
    };
    match asked.payment_method {
        PaymentMethod::TimeoutOnce => received_at.is_none(),
        PaymentMethod::Down => received_at.is_none_or(|at| now < at + down_for),
        _ => false,
    }
}

/// The life of an authorization.
fn change(
    authorization: &Authorization,
    operation: Operation,
    amount: Option<Amount>,
) -> Result<Outcome, Refusal> {
    let held = authorization.asked.amount_minor.minor();
    let left = held - authorization.refunded_minor;
    let amount = amount.map_or(left, Amount::minor);
    let mut refunded_minor = authorization.refunded_minor;
    let status = match (authorization.status, operation) {
        (Status::Authorized, Operation::Capture) if amount != held => return Err(Refusal::Amount),
        (Status::Authorized, Operation::Capture) => match authorization.asked.payment_method {
            PaymentMethod::CaptureFails => return Ok(Outcome::Declined(Decline::CaptureFailed)),
            _ => Status::Captured,
        },
        (Status::Authorized, Operation::Void) => Status::Voided,
        (Status::Authorized, Operation::Expire) => Status::Expired,
        (Status::Captured, Operation::Refund) if amount > left => return Err(Refusal::Amount),
        (Status::Captured, Operation::Refund) => {
            refunded_minor += amount;
            if amount == left { Status::Refunded } else { Status::Captured }
        }
        (status, _) => return Err(Refusal::NotAllowed(status)),
    };
    Ok(Outcome::Approved(Authorization { status, refunded_minor, ..authorization.clone() }))
}

#[cfg(test)]
mod tests;
