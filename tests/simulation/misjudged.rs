//! Faults in what is made of the card processor's answers, and of its silence: each must be found.

use messaging::jobs::Resolution;
use payment::domain::{Action, Answer, Input, Payment, Status};
use payment::processor::lookup::found;
use payment::processor::resolution::resolve;
use payment::processor::{Refused, Reply, Request, answer};
use reqwest::StatusCode;
use serde_json::Value;

use crate::injected::{Paying, finds};
use crate::system::System;

/// What breaks when payment and processor disagree about money.
const MONEY_ADDS_UP: &[&str] = &[
    "a payment ends as its order does",
    "an order is authorized and captured at most once",
    "every order is completed, or cancelled and settled",
    "no transition is invalid",
    "the ledger says what the processor's books say",
    "what was captured is a completed order's, or refunded",
];

#[test]
fn an_answer_in_another_currency_that_is_believed_is_found() {
    let system = System { answer: believes_every_200, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn a_refused_call_that_is_taken_for_done_is_found() {
    let system = System { answer: takes_refused_for_done, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn a_refused_authorization_that_is_not_looked_up_is_found() {
    let system = System { found: does_not_look_for_a_hold, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn a_refused_void_of_money_that_was_taken_is_found() {
    let system = System { found: takes_captured_for_voided, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn a_capture_that_is_refused_and_repeated_for_ever_is_found() {
    let system = System { found: repeats_a_refused_capture, ..System::SHIPPED };
    finds(system, &["a run comes to rest"]);
}

#[test]
fn a_key_that_the_processor_has_forgotten_is_found() {
    let system = System { is_looked_up: |_| false, ..System::SHIPPED };
    finds(system, &["an order is authorized and captured at most once"]);
}

#[test]
fn an_outcome_of_a_worker_that_lost_its_job_is_found() {
    let system = System { stale_outcomes_are_dropped: false, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn a_call_that_is_withdrawn_while_it_is_made_is_found() {
    let system = System { may_withdraw: |_| true, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn a_withdrawn_call_that_nobody_is_told_of_is_found() {
    let system = System { payment: withdraws_in_silence, ..System::SHIPPED };
    finds(system, &["every order is completed, or cancelled and settled"]);
}

#[test]
fn an_operator_who_is_misunderstood_is_found() {
    let system = System { resolve: takes_authorized_for_declined, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

#[test]
fn money_taken_by_hand_that_is_not_refunded_is_found() {
    let system = System { payment: voids_what_was_captured, ..System::SHIPPED };
    finds(system, MONEY_ADDS_UP);
}

/// Whatever a proxy or the processor says with 200 is what was asked for.
fn believes_every_200(request: &Request, status: StatusCode, body: &[u8]) -> Result<Reply, Refused> {
    let (amount, number) = (request.to_move(), request.number);
    let id = serde_json::from_slice(body).ok().and_then(|body: Value| Some(body["id"].as_str()?.to_owned()));
    Ok(Reply::Answer(match (status, request.action(), id) {
        (StatusCode::OK, Action::Authorize, Some(authorization_id)) => Answer::Approved { authorization_id },
        (StatusCode::OK, Action::Capture, _) => Answer::Captured { amount },
        (StatusCode::OK, Action::Void, _) => Answer::Voided,
        (StatusCode::OK, Action::Refund, _) => Answer::Refunded { amount, number },
        _ => return answer(request, status, body),
    }))
}

/// A processor that will not do it must have done it before.
fn takes_refused_for_done(request: &Request, status: StatusCode, body: &[u8]) -> Result<Reply, Refused> {
    let (amount, number) = (request.to_move(), request.number);
    answer(request, status, body).or_else(|refused| {
        Ok(Reply::Answer(match request.action() {
            Action::Authorize => return Err(refused),
            Action::Capture => Answer::Captured { amount },
            Action::Void => Answer::Voided,
            Action::Refund => Answer::Refunded { amount, number },
        }))
    })
}

/// What is refused now was not held before.
fn does_not_look_for_a_hold(request: &Request, why: &str, status: StatusCode, body: &[u8]) -> Reply {
    match request.action() {
        Action::Authorize => Reply::Answer(Answer::Declined { reason: why.to_owned() }),
        _ => found(request, why, status, body),
    }
}

/// What cannot be voided is not held any more.
fn takes_captured_for_voided(request: &Request, why: &str, status: StatusCode, body: &[u8]) -> Reply {
    match (request.action(), found(request, why, status, body)) {
        (Action::Void, Reply::Answer(Answer::Captured { .. })) => Reply::Answer(Answer::Voided),
        (_, reply) => reply,
    }
}

/// A capture that is refused may succeed later.
fn repeats_a_refused_capture(request: &Request, why: &str, status: StatusCode, body: &[u8]) -> Reply {
    match found(request, why, status, body) {
        Reply::Answer(Answer::CaptureFailed { reason }) => Reply::Unknown(reason),
        reply => reply,
    }
}

/// The order is not told that nothing was ever held.
fn withdraws_in_silence(payment: &Payment, input: &Input) -> Paying {
    let mut transition = payment::domain::react(payment, input)?;
    if *input == Input::Withdrawn {
        transition.events.clear();
    }
    Ok(transition)
}

/// What was parked was not held.
fn takes_authorized_for_declined(request: &Request, resolution: &Resolution) -> Result<Answer, String> {
    match (request.action(), resolve(request, resolution)?) {
        (Action::Authorize, Answer::Approved { .. }) => Ok(Answer::Declined { reason: "parked".to_owned() }),
        (_, answer) => Ok(answer),
    }
}

/// Money that turns out to be captured during a void is taken for voided.
fn voids_what_was_captured(payment: &Payment, input: &Input) -> Paying {
    let captured = matches!(input, Input::Answered(Answer::Captured { .. }));
    if captured && payment.status == Status::Voiding {
        return payment::domain::react(payment, &Input::Answered(Answer::Voided));
    }
    payment::domain::react(payment, input)
}
