//! What an operator says became of a call that was parked.

use messaging::jobs::Resolution;

use super::Request;
use crate::domain::{Action, Answer};

/// The answer that an operator found out, by the words of `sagactl jobs resolve --as`.
///
/// # Errors
/// A text that says which words the call can end with, when it cannot end with this one.
pub fn resolve(request: &Request, resolution: &Resolution) -> Result<Answer, String> {
    let amount = request.to_move();
    let reason = resolution.reason.clone();
    match (request.action(), resolution.outcome.as_str()) {
        (Action::Authorize, "authorized") => match resolution.reference.clone() {
            Some(authorization_id) => Ok(Answer::Approved { authorization_id }),
            None => Err("an authorization needs the processor's id for it: --reference ID".to_owned()),
        },
        (Action::Authorize, "declined") => Ok(Answer::Declined { reason }),
        (Action::Capture | Action::Void, "captured") => Ok(Answer::Captured { amount }),
        (Action::Capture, "failed") => Ok(Answer::CaptureFailed { reason }),
        (Action::Void, "voided") => Ok(Answer::Voided),
        (Action::Refund, "refunded") => Ok(Answer::Refunded { amount, number: request.number }),
        (action, outcome) => {
            let outcomes = match action {
                Action::Authorize => "authorized or declined",
                Action::Capture => "captured or failed",
                Action::Void => "voided or captured",
                Action::Refund => "refunded",
            };
            Err(format!("a call to {action} cannot end as {outcome}: it is {outcomes}"))
        }
    }
}
