//! Every state of a payment against every event and every answer of the card processor.

use contracts::{Event, OrderId, OrderPlaced, samples::samples};
use messaging::transitions::{INVALID, NOTHING, TransitionTable, consumed};
use strum::VariantArray;
use uuid::Uuid;

use crate::domain::{Answer, Input, Moved, Payment, Status, Terms, react};

const TITLE: &str = "What a payment does";
const NOTES: &str = "
By `react` in `services/payment/src/domain.rs`. *Calls* and answers are those of the card processor; `withdrawn` is
`order.cancelled` before the call to authorize was ever made. An answer that the
payment no longer waits for is a repeat when it lies on the way to the state, and invalid when it belongs to a call that
was never made or contradicts the answer that was given. A refund of a part leaves the payment `refunding`, with a refund
of the rest as its next call.
";

pub fn transitions() -> String {
    let states = payments().into_iter().map(|payment| (vec![name(&payment)], payment)).collect();
    TransitionTable { title: TITLE, notes: NOTES, heads: &["payment is"], states, inputs: inputs() }
        .print(cell)
}

fn cell(before: &Payment, input: &Input) -> String {
    let Ok(transition) = react(before, input) else { return INVALID.to_owned() };
    if transition.next.version == before.version {
        return NOTHING.to_owned();
    }
    let mut parts = vec![name(&transition.next)];
    parts.extend(transition.events.iter().map(|event| format!("**{}**", event.event_type())));
    parts.extend(transition.jobs.iter().map(|action| format!("*{action}*")));
    parts.extend(transition.postings.iter().map(|posting| format!("`{}`", posting.kind.into_str())));
    parts.join(", ")
}

fn name(payment: &Payment) -> String {
    let note = if payment.cancel_requested { ", `cancel_requested`" } else { "" };
    format!("{}{note}", payment.status)
}

/// Every state, those that a cancel can wait in twice.
fn payments() -> Vec<Payment> {
    let terms = terms();
    let amount_minor = terms.as_ref().map_or(0, |terms| terms.amount.amount_minor);
    let moved = |status: Status| match status {
        Status::Captured | Status::Refunding => Moved { captured_minor: amount_minor, ..Moved::default() },
        Status::Refunded => Moved { captured_minor: amount_minor, refunded_minor: amount_minor, refunds: 1 },
        _ => Moved::default(),
    };
    let payment = |status, cancel_requested| Payment {
        status,
        cancel_requested,
        terms: terms.clone(),
        authorization_id: Some("auth-1".to_owned()),
        moved: moved(status),
        ..Payment::placeholder(OrderId(Uuid::nil()))
    };
    let mut payments = Vec::new();
    for status in Status::VARIANTS {
        payments.push(payment(*status, false));
        if matches!(status, Status::Authorizing | Status::Capturing) {
            payments.push(payment(*status, true));
        }
    }
    payments
}

fn terms() -> Option<Terms> {
    samples().into_iter().find_map(|sample| match sample.event {
        Event::OrderPlaced(OrderPlaced { total: amount, payment_method: method, .. }) => {
            Some(Terms { amount, method })
        }
        _ => None,
    })
}

fn inputs() -> Vec<(String, Input)> {
    let reason = || "a reason".to_owned();
    let amount = terms().map(|terms| terms.amount);
    let amount = || amount.clone();
    let answers = [
        Some(Answer::Approved { authorization_id: "auth-1".to_owned() }),
        Some(Answer::Declined { reason: reason() }),
        amount().map(|amount| Answer::Captured { amount }),
        Some(Answer::CaptureFailed { reason: reason() }),
        Some(Answer::Voided),
        amount().map(|amount| Answer::Refunded { amount, number: 1 }),
    ];
    let events = consumed(system::Service::Payment.subscriptions()).into_iter();
    let events = events.filter_map(|(name, sample)| Some((name, Input::of(&sample.event)?)));
    let answers = answers.into_iter().flatten().map(Input::Answered);
    let others = std::iter::once(Input::Withdrawn).chain(answers);
    events.chain(others.map(|input| (input.name().to_owned(), input))).collect()
}
