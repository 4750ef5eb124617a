//! An authorization as the processor shows it, and whether it is the one that was asked for.

use contracts::{Currency, Money};
use serde::Deserialize;

use super::{Command, Reply, Request};
use crate::domain::{Action, Answer};

/// The longest id of an authorization.
const MAX_ID: usize = 100;

/// What the processor says of an authorization.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Authorization {
    pub(super) id: String,
    pub(super) status: Status,
    pub(super) amount_minor: i64,
    pub(super) currency: Currency,
    /// How much of what was captured was given back, if the processor says it.
    refunded_minor: Option<i64>,
}

/// What an authorization has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(super) enum Status {
    /// The amount is held.
    Authorized,
    /// The amount was taken.
    Captured,
    /// The hold was given up.
    Voided,
    /// The hold ended by itself.
    Expired,
    /// The amount was taken, and all of it given back.
    Refunded,
    /// A word that this build does not know.
    #[serde(other)]
    Other,
}

impl Authorization {
    /// What a successful call means that shows this authorization: the answer, when it is what was asked for.
    pub(super) fn settles(self, request: &Request) -> Reply {
        let amount = request.to_move();
        let (expected, refunded) = match request.command {
            Command::Authorize { .. } => (Status::Authorized, 0),
            Command::Capture { .. } => (Status::Captured, 0),
            Command::Void { .. } => (Status::Voided, 0),
            Command::Refund { refund_minor, refunded_minor, .. } => {
                let refunded = refunded_minor + refund_minor;
                let whole = refunded == request.amount.amount_minor;
                (if whole { Status::Refunded } else { Status::Captured }, refunded)
            }
        };
        if let Err(reason) = self.is_about(request) {
            return Reply::Unsettled(reason);
        }
        if self.status != expected {
            return Reply::Unsettled(format!("the authorization is {}, not {expected}", self.status));
        }
        if request.action() == Action::Refund && self.refunded_minor() != refunded {
            let of = |amount_minor| Money { amount_minor, currency: self.currency.clone() };
            let (shown, refunded) = (of(self.refunded_minor()), of(refunded));
            return Reply::Unsettled(format!("{shown} of the authorization is refunded, not {refunded}"));
        }
        Reply::Answer(match request.action() {
            Action::Authorize => Answer::Approved { authorization_id: self.id },
            Action::Capture => Answer::Captured { amount },
            Action::Void => Answer::Voided,
            Action::Refund => Answer::Refunded { amount, number: request.number },
        })
    }

    /// How much of what was captured was given back: all of it when it is refunded, and the processor does not say how
    /// much.
    pub(super) fn refunded_minor(&self) -> i64 {
        let all = if self.status == Status::Refunded { self.amount_minor } else { 0 };
        self.refunded_minor.unwrap_or(all)
    }

    /// Whether it has the id, the amount and the currency that the call is about, and no more was refunded than captured.
    ///
    /// # Errors
    /// A text that says what differs.
    pub(super) fn is_about(&self, request: &Request) -> Result<(), String> {
        let found = Money { amount_minor: self.amount_minor, currency: self.currency.clone() };
        if let Some(id) = request.authorization_id()
            && id != self.id
        {
            return Err("the answer is about another authorization".to_owned());
        }
        if found != request.amount {
            return Err(format!("the authorization is over {found}, not {}", request.amount));
        }
        if !(0..=self.amount_minor).contains(&self.refunded_minor()) {
            return Err("more of the authorization is refunded than was captured".to_owned());
        }
        if !is_token(&self.id) {
            return Err("the authorization's id is no token".to_owned());
        }
        Ok(())
    }
}

/// Whether a text can be a segment of a path, and be stored: `A` to `Z`, digits, `-`, `_`, `.` and `:`, not only dots.
fn is_token(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(allowed) && id.bytes().any(|byte| byte != b'.')
}
