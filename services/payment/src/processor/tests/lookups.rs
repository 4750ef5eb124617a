//! What a look-up and an operator's word mean for a call.

use contracts::Money;
use messaging::jobs::Resolution;
use reqwest::StatusCode;
use serde_json::json;

use super::{ACTIONS, amount, approved, authorization, capture_failed, declined, done, request};
use crate::domain::{Action, Answer};
use crate::processor::Reply;
use crate::processor::lookup::found;
use crate::processor::resolution::resolve;

/// What it means that an authorization has this status, or is not there.
fn looked_up(action: Action, status: Option<&str>) -> Reply {
    let (code, body) = match (action, status) {
        (Action::Authorize, status) => {
            let items: Vec<_> = status.into_iter().map(authorization).collect();
            (StatusCode::OK, json!({ "items": items }))
        }
        (_, Some(status)) => (StatusCode::OK, authorization(status)),
        (_, None) => (StatusCode::NOT_FOUND, json!({ "title": "Not found" })),
    };
    found(&request(action), "refused", code, body.to_string().as_bytes())
}

#[test]
fn what_a_refused_call_comes_to_is_what_the_authorization_is() {
    use Action::{Authorize, Capture, Refund, Void};
    let captured = || Reply::Answer(Answer::Captured { amount: amount() });
    let (voided, refunded) =
        (Reply::Answer(Answer::Voided), Reply::Answer(Answer::Refunded { amount: amount(), number: 1 }));
    let statuses =
        [None, Some("authorized"), Some("captured"), Some("voided"), Some("expired"), Some("refunded")];
    for action in ACTIONS {
        for status in statuses {
            let expected = match (action, status) {
                (Authorize, None) => declined("refused"),
                (Authorize, Some("authorized")) => approved(),
                (Capture | Void, Some("captured")) | (Void, Some("refunded")) => captured(),
                (Capture, None | Some("authorized" | "voided" | "expired")) => capture_failed("refused"),
                (Void, Some("voided" | "expired")) => voided.clone(),
                (Refund, Some("refunded")) => refunded.clone(),
                _ => {
                    let reply = looked_up(action, status);
                    assert!(matches!(reply, Reply::Unsettled(_)), "{action} {status:?}: {reply:?}");
                    continue;
                }
            };
            assert_eq!(looked_up(action, status), expected, "{action} {status:?}");
        }
    }
}

#[test]
fn a_part_that_was_given_back_elsewhere_is_a_refund() {
    let mut shown = authorization("captured");
    shown["refunded_minor"] = json!(1000);
    let reply = found(&request(Action::Refund), "refused", StatusCode::OK, shown.to_string().as_bytes());
    let amount = Money { amount_minor: 1000, ..amount() };
    assert_eq!(reply, Reply::Answer(Answer::Refunded { amount, number: 1 }));
}

#[test]
fn what_is_looked_up_is_checked_as_an_answer_is() {
    let mut wrong = authorization("captured");
    wrong["currency"] = json!("USD");
    for action in [Action::Capture, Action::Void, Action::Refund] {
        let reply = found(&request(action), "refused", StatusCode::OK, wrong.to_string().as_bytes());
        assert!(matches!(reply, Reply::Unsettled(_)), "{action}: {reply:?}");
    }
    let two = json!({ "items": [authorization("authorized"), authorization("authorized")] });
    let reply = found(&request(Action::Authorize), "refused", StatusCode::OK, two.to_string().as_bytes());
    assert!(matches!(reply, Reply::Unsettled(_)), "{reply:?}");
    for (status, body) in [(404, ""), (500, ""), (200, "<html>"), (302, "")] {
        let status = StatusCode::from_u16(status).expect("a status");
        for action in ACTIONS {
            let reply = found(&request(action), "refused", status, body.as_bytes());
            assert!(matches!(reply, Reply::Unknown(_)), "{action} {status}: {reply:?}");
        }
    }
}

#[test]
fn an_operator_says_how_a_call_ended() {
    let say = |action, outcome: &str, reference: Option<&str>| {
        let (outcome, reference) = (outcome.to_owned(), reference.map(str::to_owned));
        resolve(&request(action), &Resolution { outcome, reference, reason: "by telephone".to_owned() })
    };
    for action in ACTIONS {
        let (status, answer) = done(action);
        assert_eq!(say(action, status, Some("auth-1")), Ok(answer), "{action}");
        assert!(say(action, "sent", Some("auth-1")).is_err(), "{action}");
    }
    let declined = Answer::Declined { reason: "by telephone".to_owned() };
    assert_eq!(say(Action::Authorize, "declined", None), Ok(declined));
    assert!(say(Action::Authorize, "authorized", None).is_err(), "the processor's id is missing");
    let failed = Answer::CaptureFailed { reason: "by telephone".to_owned() };
    assert_eq!(say(Action::Capture, "failed", None), Ok(failed));
    assert_eq!(say(Action::Void, "captured", None), Ok(Answer::Captured { amount: amount() }));
}
