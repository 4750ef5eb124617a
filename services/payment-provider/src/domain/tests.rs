//! The books under every operation, and under random histories.

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;

const DOWN_FOR: Duration = Duration::from_secs(45);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn asked(reference: &str, amount: i64, payment_method: &str) -> NewAuthorization {
    serde_json::from_value(json!({
        "merchant_reference": reference,
        "amount_minor": amount,
        "currency": "EUR",
        "payment_method": payment_method,
    }))
    .unwrap()
}

fn authorize(payment_method: &str) -> Request {
    Request::Authorize(asked("order-1", 500, payment_method))
}

/// Decides and applies, as the processor does.
fn call(books: &mut Books, key: &str, request: &Request, now: DateTime<Utc>) -> Result<Reply, Refusal> {
    let fresh_id = Uuid::from_u128(books.authorizations.len() as u128 + 1);
    let decision = books.decide(key, request, fresh_id, now, DOWN_FOR)?;
    decision.entry.into_iter().for_each(|entry| books.apply(entry));
    Ok(decision.reply)
}

/// Books with one authorization that has come as far as `status`.
fn books_with(status: Status) -> (Books, Uuid) {
    let mut books = Books::default();
    let reply = call(&mut books, "hold", &authorize("pm_card_visa"), at(0));
    let Ok(Reply::Outcome(Outcome::Approved(authorization))) = reply else { panic!("{reply:?}") };
    let operations: &[Operation] = match status {
        Status::Authorized => &[],
        Status::Captured => &[Operation::Capture],
        Status::Voided => &[Operation::Void],
        Status::Refunded => &[Operation::Capture, Operation::Refund],
        Status::Expired => &[Operation::Expire],
    };
    for (index, operation) in operations.iter().enumerate() {
        let request = Request::Change { id: authorization.id, operation: *operation, amount: None };
        call(&mut books, &format!("step {index}"), &request, at(0)).unwrap();
    }
    (books, authorization.id)
}

#[test]
fn an_authorization_is_captured_and_refunded_or_voided_and_nothing_else() {
    use {Operation::*, Status::*};
    for from in [Authorized, Captured, Voided, Refunded, Expired] {
        for operation in [Capture, Void, Refund, Expire] {
            let (mut books, id) = books_with(from);
            let expected = match (from, operation) {
                (Authorized, Capture) => Ok(Captured),
                (Authorized, Void) => Ok(Voided),
                (Captured, Refund) => Ok(Refunded),
                (Authorized, Expire) => Ok(Expired),
                _ => Err(Refusal::NotAllowed(from)),
            };
            let reply = call(&mut books, "key", &Request::Change { id, operation, amount: None }, at(0));
            let status = reply.map(|reply| match reply {
                Reply::Outcome(Outcome::Approved(authorization)) => authorization.status,
                other => panic!("{other:?}"),
            });
            assert_eq!(status, expected, "{operation:?} of {from:?}");
        }
    }
}

#[test]
fn a_repeated_key_gets_its_first_answer_whatever_happened_since() {
    let (mut books, id) = books_with(Status::Refunded);
    let before = books.report(None);
    let reply = call(&mut books, "hold", &authorize("pm_card_visa"), at(9)).unwrap();
    let Reply::Outcome(Outcome::Approved(authorization)) = reply else { panic!("{reply:?}") };
    assert_eq!((authorization.id, authorization.status), (id, Status::Authorized));
    assert_eq!(books.report(None), before);
}

#[test]
fn a_key_belongs_to_one_call() {
    let (mut books, id) = books_with(Status::Authorized);
    let void = Request::Change { id, operation: Operation::Void, amount: None };
    for other in [authorize("pm_card_declined"), void] {
        assert_eq!(call(&mut books, "hold", &other, at(0)), Err(Refusal::KeyReused));
    }
}

#[test]
fn a_refusal_is_not_remembered() {
    let (mut books, id) = books_with(Status::Authorized);
    let refund = Request::Change { id, operation: Operation::Refund, amount: None };
    assert_eq!(call(&mut books, "back", &refund, at(0)), Err(Refusal::NotAllowed(Status::Authorized)));
    call(&mut books, "take", &Request::Change { id, operation: Operation::Capture, amount: None }, at(0))
        .unwrap();
    assert!(call(&mut books, "back", &refund, at(0)).is_ok());
}

#[test]
fn silence_lasts_as_long_as_the_card_says() {
    let silent_at = |method: &str, seconds: &[i64]| -> Vec<bool> {
        let mut books = Books::default();
        let calls = seconds.iter().map(|second| call(&mut books, "key", &authorize(method), at(*second)));
        calls.map(|reply| reply.unwrap() == Reply::Silence).collect()
    };
    assert_eq!(silent_at("pm_card_visa", &[0, 1]), [false, false]);
    assert_eq!(silent_at("pm_timeout_once", &[0, 1, 2]), [true, false, false]);
    assert_eq!(silent_at("pm_charged_then_timeout", &[0, 1]), [true, false]);
    assert_eq!(silent_at("pm_down", &[0, 1, 44, 45, 46]), [true, true, true, false, false]);
}

#[test]
fn only_a_charge_then_timeout_takes_effect_in_silence() {
    for (method, effect) in [("pm_timeout_once", 0), ("pm_down", 0), ("pm_charged_then_timeout", 1)] {
        let mut books = Books::default();
        call(&mut books, "key", &authorize(method), at(0)).unwrap();
        assert_eq!(books.report(None).items.len(), effect, "{method}");
    }
}

#[test]
fn what_a_capture_failed_to_take_can_still_be_voided() {
    let mut books = Books::default();
    call(&mut books, "hold", &authorize("pm_capture_fails"), at(0)).unwrap();
    let change = |operation| Request::Change { id: Uuid::from_u128(1), operation, amount: None };
    let failed = call(&mut books, "take", &change(Operation::Capture), at(0)).unwrap();
    assert_eq!(failed, Reply::Outcome(Outcome::Declined(Decline::CaptureFailed)));
    call(&mut books, "drop", &change(Operation::Void), at(0)).unwrap();
    assert_eq!(call(&mut books, "take", &change(Operation::Capture), at(0)).unwrap(), failed);
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    let mut books = Books::default();
    let day = KEY_RETENTION.num_seconds();
    for (second, authorizations) in [(0, 1), (day - 1, 1), (day, 2)] {
        call(&mut books, "hold", &authorize("pm_card_visa"), at(second)).unwrap();
        assert_eq!(books.report(None).items[0].sums.authorizations, authorizations, "after {second} s");
    }
}

#[test]
fn refunds_of_parts_add_up_to_what_was_taken() {
    let (mut books, id) = books_with(Status::Captured);
    let mut refund = |key: &str, minor: i64| {
        let amount = Some(Amount::try_from(minor).unwrap());
        let reply =
            call(&mut books, key, &Request::Change { id, operation: Operation::Refund, amount }, at(0))?;
        let Reply::Outcome(Outcome::Approved(authorization)) = reply else { panic!("{reply:?}") };
        Ok((authorization.status, authorization.refunded_minor))
    };
    assert_eq!(refund("first", 200), Ok((Status::Captured, 200)));
    assert_eq!(refund("too much", 301), Err(Refusal::Amount));
    assert_eq!(refund("second", 300), Ok((Status::Refunded, 500)));
    assert_eq!(refund("third", 1), Err(Refusal::NotAllowed(Status::Refunded)));
}

/// A step of a random history: a small world, so that keys and authorizations meet often.
#[derive(Debug, Clone)]
enum Step {
    Authorize { key: u8, reference: u8, amount: i64, method: &'static str },
    Change { key: u8, authorization: u8, operation: Operation },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    const METHODS: [&str; 7] = [
        "pm_card_visa",
        "pm_card_declined",
        "pm_insufficient_funds",
        "pm_capture_fails",
        "pm_timeout_once",
        "pm_charged_then_timeout",
        "pm_down",
    ];
    let operations = [Operation::Capture, Operation::Void, Operation::Refund, Operation::Expire];
    let operation = prop::sample::select(operations.to_vec());
    let step = prop_oneof![
        (0..20_u8, 0..4_u8, 1..1000_i64, prop::sample::select(METHODS.to_vec()))
            .prop_map(|(key, reference, amount, method)| Step::Authorize { key, reference, amount, method }),
        (0..40_u8, 1..8_u8, operation).prop_map(|(key, authorization, operation)| Step::Change {
            key,
            authorization,
            operation
        }),
    ];
    vec(step, 0..120)
}

fn parts(step: &Step) -> (String, Request) {
    match *step {
        Step::Authorize { key, reference, amount, method } => {
            (format!("a{key}"), Request::Authorize(asked(&format!("order-{reference}"), amount, method)))
        }
        Step::Change { key, authorization, operation } => {
            let id = Uuid::from_u128(authorization.into());
            (format!("c{key}"), Request::Change { id, operation, amount: None })
        }
    }
}

proptest! {
    #[test]
    fn no_history_takes_more_than_was_held_or_gives_back_more_than_was_taken(steps in steps()) {
        let mut books = Books::default();
        let mut replayed = Books::default();
        let (mut held, mut captured, mut refunded, mut voided) = (0, 0, 0, 0);
        for (second, step) in steps.iter().enumerate() {
            let (key, request) = parts(step);
            let fresh_id = Uuid::from_u128(books.authorizations.len() as u128 + 1);
            let now = at(second as i64);
            let Ok(decision) = books.decide(&key, &request, fresh_id, now, DOWN_FOR) else { continue };
            let Some(entry) = decision.entry else { continue };
            if let Progress::Answered(Outcome::Approved(authorization)) = &entry.progress {
                let amount = authorization.asked.amount_minor.minor();
                match authorization.status {
                    Status::Authorized => held += amount,
                    Status::Captured => captured += amount,
                    Status::Refunded => refunded += amount,
                    Status::Voided | Status::Expired => voided += amount,
                }
            }
            let line = serde_json::to_string(&entry).unwrap();
            replayed.apply(serde_json::from_str(&line).unwrap());
            books.apply(entry);

            let report = books.report(None);
            let total = report.totals.values().next().copied().unwrap_or_default();
            prop_assert!(refunded <= captured && captured + voided <= held);
            prop_assert_eq!(total.held_minor, held - captured - voided);
            prop_assert_eq!((total.captured_minor, total.refunded_minor), (captured, refunded));
            prop_assert_eq!(report.items.iter().map(|item| item.sums.held_minor).sum::<i64>(), total.held_minor);
            for item in &report.items {
                prop_assert_eq!(&books.report(Some(&item.merchant_reference)).items[0], item);
            }
        }
        prop_assert_eq!(replayed.report(None), books.report(None));
        prop_assert_eq!(replayed.calls, books.calls);
    }
}
