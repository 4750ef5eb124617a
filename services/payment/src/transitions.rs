//! Every state of a payment against every input, as a Markdown table: `transitions.md`, written by `sagactl generate`.

use std::fmt::Write;

use contracts::{Currency, InvalidValue, Money, OrderId};
use uuid::Uuid;

use crate::domain::{Answer, Input, InvalidTransition, Payment, Reaction, Status, Terms, react};

const HEAD: &str = "\
# What a payment does

Generated from `react` by `sagactl generate`. Rows are what the payment is, columns what it hears or how its call ends.
A cell says what the payment becomes; **announces** what the others are told; *calls* what the processor is asked;
`posts` how the ledger moves. `-` is a repeat, or comes too late to matter: nothing changes. `InvalidTransition` cannot come:
a message fails, and ends among the dead letters if it goes on failing; an answer's job runs again. An answer that the
payment no longer waits for is a repeat when it lies on the way to the state, and impossible when it belongs to a call
that was never made or contradicts the answer that was given.

";

/// The whole table.
#[must_use]
pub fn transitions() -> String {
    // A fixed currency parses; were it not to, the empty table would fail the test that compares it.
    let terms = terms().ok();
    terms.map(|terms| table(&terms)).unwrap_or_default()
}

fn table(terms: &Terms) -> String {
    let inputs = inputs(terms);
    let names: Vec<_> = inputs.iter().map(Input::name).collect();
    let mut text =
        format!("{HEAD}| payment is | {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len() + 1));
    for payment in payments(terms) {
        let note = if payment.cancel_requested { ", `cancel_requested`" } else { "" };
        let _ = write!(text, "| {}{note} |", payment.status);
        for input in &inputs {
            let _ = write!(text, " {} |", cell(&payment, &react(&payment, input)));
        }
        text.push('\n');
    }
    text
}

fn cell(before: &Payment, reaction: &Result<Reaction, InvalidTransition>) -> String {
    let Ok(Reaction { payment, announce, call, posting }) = reaction else {
        return "InvalidTransition".to_owned();
    };
    if payment.version == before.version {
        return "-".to_owned();
    }
    let mut parts = vec![payment.status.to_string()];
    if payment.cancel_requested {
        parts.push("`cancel_requested`".to_owned());
    }
    parts.extend(announce.iter().map(|event| format!("**{}**", event.event_type())));
    parts.extend(call.iter().map(|action| format!("*{action}*")));
    parts.extend(posting.iter().map(|(posting, _)| format!("`{}`", posting.as_str())));
    parts.join(", ")
}

fn terms() -> Result<Terms, InvalidValue> {
    let amount = Money { amount_minor: 2500, currency: "EUR".parse::<Currency>()? };
    Ok(Terms { amount, method: "pm_card_visa".parse()? })
}

/// Every state, those that a cancel can wait in twice.
fn payments(terms: &Terms) -> Vec<Payment> {
    let payment = |status, cancel_requested| Payment {
        status,
        cancel_requested,
        terms: Some(terms.clone()),
        authorization_id: Some("auth-1".to_owned()),
        ..Payment::placeholder(OrderId(Uuid::nil()), Uuid::nil())
    };
    let mut payments = Vec::new();
    for status in Status::ALL {
        payments.push(payment(*status, false));
        if matches!(status, Status::Authorizing | Status::Capturing) {
            payments.push(payment(*status, true));
        }
    }
    payments
}

fn inputs(terms: &Terms) -> Vec<Input> {
    let reason = || "a reason".to_owned();
    let answers = [
        Answer::Approved { authorization_id: "auth-1".to_owned() },
        Answer::Declined { reason: reason() },
        Answer::Captured,
        Answer::CaptureFailed { reason: reason() },
        Answer::Voided,
        Answer::Refunded,
    ];
    let facts = [Input::Placed(terms.clone()), Input::Confirmed, Input::Cancelled];
    facts.into_iter().chain(answers.into_iter().map(Input::Answered)).collect()
}

#[cfg(test)]
mod tests {
    use super::transitions;

    #[test]
    fn the_matrix_has_not_drifted() {
        assert_eq!(
            transitions(),
            include_str!("../transitions.md"),
            "transitions.md has drifted: run `sagactl generate`"
        );
    }
}
