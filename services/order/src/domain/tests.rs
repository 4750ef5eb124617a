use chrono::TimeDelta;
use contracts::{Quantity, samples::samples};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection::vec, sample::select};

use super::*;

#[derive(Debug, Clone)]
enum Input {
    Hears(Event),
    Cancel,
    Deadline,
}

fn sample(event_type: EventType) -> Event {
    let mut events = samples().into_iter().map(|sample| sample.event);
    events.find(|event| event.event_type() == event_type).expect("there is a sample of every event")
}

fn placed_order() -> Order {
    fold(
        DateTime::UNIX_EPOCH,
        DateTime::UNIX_EPOCH + TimeDelta::seconds(30),
        [&sample(EventType::OrderPlaced)],
    )
    .expect("the log begins with order.placed")
}

fn answer_types() -> Vec<EventType> {
    Service::Order
        .subscriptions()
        .iter()
        .copied()
        .filter(|heard| *heard != EventType::ProductListed)
        .collect()
}

fn facts(order: &Order, input: &Input) -> Vec<Event> {
    match input {
        Input::Hears(event) => react(order, event).unwrap_or_default(),
        Input::Cancel => decide_cancel(order).unwrap_or_default(),
        Input::Deadline => decide_timeout(order, order.deadline_at),
    }
}

/// Records the facts of the input: the shell in two lines.
fn record(order: &mut Order, log: &mut Vec<Event>, input: &Input) -> Vec<Event> {
    let facts = facts(order, input);
    facts.iter().for_each(|fact| apply(order, fact));
    log.extend(facts.iter().cloned());
    facts
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let heard = select(answer_types()).prop_map(|heard| Input::Hears(sample(heard)));
    vec(prop_oneof![8 => heard, 1 => Just(Input::Cancel), 1 => Just(Input::Deadline)], 0..40)
}

/// All that inventory and payment may say to an order that is cancelled.
fn late_answers() -> impl Strategy<Value = Vec<EventType>> {
    use EventType::{
        PaymentAuthorized, PaymentCaptureFailed, PaymentCaptured, PaymentDeclined, PaymentRefunded,
        PaymentVoided, StockRejected, StockReleased, StockReserved,
    };
    let stock = select(vec![vec![StockRejected], vec![StockReleased], vec![StockReserved, StockReleased]]);
    let payment = select(vec![
        vec![PaymentDeclined],
        vec![PaymentVoided],
        vec![PaymentAuthorized, PaymentVoided],
        vec![PaymentAuthorized, PaymentCaptureFailed, PaymentVoided],
        vec![PaymentAuthorized, PaymentCaptured, PaymentRefunded],
    ]);
    (stock, payment).prop_map(|(stock, payment)| [stock, payment].concat())
}

proptest! {
    #[test]
    fn the_log_folded_again_is_the_order(inputs in inputs()) {
        let mut order = placed_order();
        let mut log = vec![sample(EventType::OrderPlaced)];
        for input in &inputs {
            record(&mut order, &mut log, input);
            let folded = fold(order.placed_at, order.deadline_at, &log);
            prop_assert_eq!(folded.as_ref(), Some(&order));
            prop_assert_eq!(order.version, i64::try_from(log.len()).unwrap());
        }
    }

    #[test]
    fn an_order_is_confirmed_only_with_stock_and_money_and_ends_once(inputs in inputs()) {
        let mut order = placed_order();
        let mut log = vec![];
        for input in &inputs {
            for fact in record(&mut order, &mut log, input) {
                if fact.event_type() == EventType::OrderConfirmed {
                    let heard = |event_type| log.iter().any(|fact| fact.event_type() == event_type);
                    prop_assert!(heard(EventType::StockReserved) && heard(EventType::PaymentAuthorized));
                    prop_assert_eq!((order.stock, order.payment), (Stock::Reserved, Payment::Authorized));
                }
            }
        }
        let ends = [EventType::OrderCancelled, EventType::OrderCompleted];
        prop_assert!(log.iter().filter(|fact| ends.contains(&fact.event_type())).count() <= 1);
    }

    #[test]
    fn a_repeat_changes_nothing(inputs in inputs()) {
        let (mut order, mut log) = (placed_order(), vec![]);
        for input in &inputs {
            record(&mut order, &mut log, input);
            for heard in log.iter().filter(|fact| fact.event_type().owner() != Service::Order) {
                prop_assert_eq!(react(&order, heard), Ok(vec![]));
            }
        }
    }

    #[test]
    fn sides_only_advance_and_settled_stays(inputs in inputs()) {
        let (mut order, mut log) = (placed_order(), vec![]);
        for input in &inputs {
            let before = order.clone();
            record(&mut order, &mut log, input);
            prop_assert!(!before.settled() || order.settled());
            prop_assert!(!before.stock.closed() || order.stock == before.stock);
            prop_assert!(!before.payment.closed() || order.payment == before.payment);
        }
    }

    #[test]
    fn a_cancelled_order_ends_up_the_same_whatever_order_its_late_answers_come_in(
        (answers, shuffled) in late_answers().prop_flat_map(|answers| (Just(answers.clone()), Just(answers).prop_shuffle())),
    ) {
        let end = |answers: &[EventType]| {
            let (mut order, mut log) = (placed_order(), vec![]);
            record(&mut order, &mut log, &Input::Cancel);
            for answer in answers {
                react(&order, &sample(*answer)).expect("a late answer is never impossible");
                record(&mut order, &mut log, &Input::Hears(sample(*answer)));
            }
            order
        };
        prop_assert!(end(&answers).settled());
        prop_assert_eq!(end(&answers), end(&shuffled));
    }
}

fn order_after(answers: &[EventType]) -> Order {
    let (mut order, mut log) = (placed_order(), vec![]);
    for answer in answers {
        record(&mut order, &mut log, &Input::Hears(sample(*answer)));
    }
    order
}

#[test]
fn the_second_of_stock_and_money_confirms() {
    let (stock, money) = (EventType::StockReserved, EventType::PaymentAuthorized);
    for (first, second) in [(stock, money), (money, stock)] {
        let order = order_after(&[first]);
        assert_eq!(order.status, Status::Pending);
        let facts = react(&order, &sample(second)).expect("it is possible");
        assert_eq!(facts, [sample(second), order.confirmed()]);
    }
}

#[test]
fn what_cannot_be_is_named() {
    let check = |before: &[EventType], heard: EventType| {
        let error = react(&order_after(before), &sample(heard)).expect_err(heard.name());
        assert!(error.to_string().ends_with(&format!("cannot hear {heard}")), "{error}");
    };
    let confirmed = [EventType::StockReserved, EventType::PaymentAuthorized];
    let completed = [confirmed.as_slice(), &[EventType::PaymentCaptured]].concat();
    check(&[], EventType::PaymentCaptured);
    check(&[], EventType::StockReleased);
    check(&[], EventType::OrderPlaced);
    check(&[EventType::PaymentAuthorized], EventType::PaymentDeclined);
    check(&confirmed, EventType::StockRejected);
    check(&confirmed, EventType::PaymentDeclined);
    check(&completed, EventType::PaymentCaptureFailed);
    check(&[EventType::StockRejected], EventType::StockReserved);
    check(&[EventType::StockRejected], EventType::ProductListed);
}

#[test]
fn an_order_times_out_at_its_deadline_and_only_while_it_is_pending() {
    let pending = placed_order();
    assert!(decide_timeout(&pending, pending.deadline_at - TimeDelta::microseconds(1)).is_empty());
    assert_eq!(decide_timeout(&pending, pending.deadline_at), [pending.cancelled(CancelReason::TimedOut)]);
    let confirmed = order_after(&[EventType::StockReserved, EventType::PaymentAuthorized]);
    assert!(decide_timeout(&confirmed, confirmed.deadline_at).is_empty());
}

#[test]
fn an_order_says_what_it_waits_for() {
    let check = |order: &Order, expected: &[(Service, &[EventType], bool)]| {
        let awaits: Vec<_> =
            order.awaits().into_iter().map(|next| (next.from, next.any_of, next.until.is_some())).collect();
        assert_eq!(awaits, expected);
    };
    let mut order = order_after(&[EventType::StockReserved]);
    let answers: &[_] = &[EventType::PaymentAuthorized, EventType::PaymentDeclined];
    check(&order, &[(Service::Payment, answers, true)]);
    record(&mut order, &mut vec![], &Input::Hears(sample(EventType::PaymentAuthorized)));
    let captures: &[_] = &[EventType::PaymentCaptured, EventType::PaymentCaptureFailed];
    check(&order, &[(Service::Payment, captures, false)]);
    record(&mut order, &mut vec![], &Input::Cancel);
    let closings: &[_] = &[EventType::PaymentVoided, EventType::PaymentRefunded];
    check(
        &order,
        &[(Service::Inventory, &[EventType::StockReleased], false), (Service::Payment, closings, false)],
    );
    check(
        &order_after(&[EventType::StockReserved, EventType::PaymentAuthorized, EventType::PaymentCaptured]),
        &[],
    );
}

fn command(lines: &[(&str, i64)]) -> PlaceOrder {
    let Event::OrderPlaced(placed) = sample(EventType::OrderPlaced) else { unreachable!() };
    let line = |(sku, quantity): &(&str, i64)| StockLine {
        sku: sku.parse().unwrap(),
        quantity: Quantity::try_from(*quantity).unwrap(),
    };
    let lines = lines.iter().map(line).collect();
    PlaceOrder { customer: placed.customer, lines, payment_method: placed.payment_method }
}

fn prices() -> Prices {
    let price = |(sku, amount_minor, currency): (&str, i64, &str)| {
        (sku.parse().unwrap(), Money { amount_minor, currency: currency.parse().unwrap() })
    };
    [("TEA", 450, "EUR"), ("CUP", 990, "EUR"), ("BOOK", 700, "USD"), ("YACHT", i64::MAX / 2, "EUR")]
        .map(price)
        .into()
}

#[test]
fn an_order_costs_the_sum_of_its_lines() {
    let placed =
        decide_place(placed_order().id, command(&[("TEA", 2), ("CUP", 1)]), &prices()).expect("it is fine");
    assert_eq!(placed.total, Money { amount_minor: 1890, currency: "EUR".parse().unwrap() });
    assert_eq!(placed.lines[0].unit_price.amount_minor, 450);
}

#[test]
fn a_wish_that_breaks_a_rule_is_refused() {
    let check = |lines: &[(&str, i64)], expected: &str| {
        let refusal = decide_place(placed_order().id, command(lines), &prices()).expect_err(expected);
        assert_eq!(refusal.to_string(), expected);
    };
    let names: Vec<String> = (0..51).map(|number| format!("TEA-{number}")).collect();
    let many: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    check(&[], "an order has 1 to 50 lines, not 0");
    check(&many, "an order has 1 to 50 lines, not 51");
    check(&[("TEA", 1), ("TEA", 2)], "TEA stands in more than one line: add the quantities up");
    check(&[("TEA", 1), ("JAM", 1), ("HAM", 1)], "not for sale: HAM, JAM");
    check(
        &[("TEA", 1), ("BOOK", 1)],
        "an order is in one currency, not in EUR, USD: place one order for each",
    );
    check(&[("YACHT", 3)], "the total is too large");
    check(&[("YACHT", 2), ("TEA", 1)], "the total is too large");
}
