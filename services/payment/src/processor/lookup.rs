//! What the processor says of an authorization when it is asked, and what that means for a call that was refused or
//! whose outcome is unknown for too long.
//!
//! | the authorization is | authorize | capture | void | refund |
//! |---|---|---|---|---|
//! | not there | declined | capture failed | unsettled | unsettled |
//! | authorized | approved | capture failed | unsettled | unsettled |
//! | captured | unsettled | captured | captured: to be refunded | refunded, if more of it is than before |
//! | voided, expired | unsettled | capture failed | voided | unsettled |
//! | refunded | unsettled | unsettled | captured: to be refunded | refunded |
//!
//! What was refunded at the processor's dashboard may be a part: the payment then refunds the rest.

use contracts::Money;
use reqwest::StatusCode;
use serde::Deserialize;

use super::authorization::{Authorization, Status};
use super::{Command, Refusal, Reply, Request};
use crate::domain::{Action, Answer};

/// The authorizations of a merchant reference.
#[derive(Deserialize)]
struct List {
    items: Vec<Authorization>,
}

/// What the answer to the look-up of a call's authorization means for the call, and `why` it was looked up.
pub fn found(request: &Request, why: &str, status: StatusCode, body: &[u8]) -> Reply {
    let settle = |found| settle(request, why, found);
    match (request.action(), status.as_u16()) {
        (Action::Capture | Action::Void | Action::Refund, 404) if Refusal::of(body).is_stated() => {
            settle(None)
        }
        (Action::Authorize, 200) => match strict_json::from_slice::<List>(body) {
            Ok(List { items }) if items.len() > 1 => {
                Reply::Unsettled(format!("the processor has {} authorizations of the order", items.len()))
            }
            Ok(List { items }) => settle(items.first()),
            Err(error) => {
                Reply::Unknown(format!("{status}, but its body is no list of authorizations: {error}"))
            }
        },
        (_, 200) => match strict_json::from_slice(body) {
            Ok(authorization) => settle(Some(&authorization)),
            Err(error) => Reply::Unknown(format!("{status}, but its body is no authorization: {error}")),
        },
        _ => Reply::Unknown(format!("{status} to the question what the authorization is")),
    }
}

/// What an authorization that was found, or `None`, means for the call.
fn settle(request: &Request, why: &str, found: Option<&Authorization>) -> Reply {
    if let Some(Err(reason)) = found.map(|authorization| authorization.is_about(request)) {
        return Reply::Unsettled(reason);
    }
    let shown_refunded = found.map_or(0, Authorization::refunded_minor);
    let (reason, amount) = (why.to_owned(), request.amount.clone());
    let (status, id) = found.map(|found| (found.status, found.id.clone())).unzip();
    Reply::Answer(match (&request.command, status, id) {
        (Command::Authorize { .. }, None, _) => Answer::Declined { reason },
        (Command::Authorize { .. }, Some(Status::Authorized), Some(authorization_id)) => {
            Answer::Approved { authorization_id }
        }
        (Command::Capture { .. }, Some(Status::Captured), _) => Answer::Captured { amount },
        (Command::Capture { .. }, None | Some(Status::Authorized | Status::Voided | Status::Expired), _) => {
            Answer::CaptureFailed { reason }
        }
        (Command::Void { .. }, Some(Status::Voided | Status::Expired), _) => Answer::Voided,
        (Command::Void { .. }, Some(Status::Captured | Status::Refunded), _) => Answer::Captured { amount },
        (Command::Refund { refunded_minor, .. }, Some(Status::Captured | Status::Refunded), _)
            if shown_refunded > *refunded_minor =>
        {
            let amount = Money { amount_minor: shown_refunded - refunded_minor, ..amount };
            Answer::Refunded { amount, number: request.number }
        }
        _ => {
            let told = status.map_or_else(|| "not there".to_owned(), |status| status.to_string());
            return Reply::Unsettled(format!("{why}, and the authorization is {told}"));
        }
    })
}
