mod deadlines;

use chrono::TimeDelta;
use contracts::{PaymentRefunded, Quantity, samples::samples};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection::vec, sample::select};

use super::*;

#[derive(Debug, Clone)]
enum Input {
    /// An event, with the version of the aggregate that published it.
    Event(Event, i64),
    Cancel,
    /// The decision deadline comes while messages do not flow.
    Outage,
    Deadline,
}

/// A moment at which messages do not flow.
fn outage_at(now: DateTime<Utc>) -> Moment {
    Moment::new(now, MessageFlow::default(), TimeDelta::seconds(30))
}

/// An order and its event log, as the service keeps them.
#[derive(Debug, Clone)]
struct Logged {
    order: Order,
    log: Vec<(Event, i64)>,
}

fn sample(event_type: EventType) -> Event {
    let mut events = samples().into_iter().map(|sample| sample.event);
    events.find(|event| event.event_type() == event_type).expect("there is a sample of every event")
}

impl Logged {
    fn placed() -> Self {
        let log = vec![(sample(EventType::OrderPlaced), 1)];
        let placed_at = DateTime::UNIX_EPOCH;
        let after = |time| placed_at + time;
        let deadlines = Deadlines {
            decision: after(TimeDelta::seconds(30)),
            latest_decision: after(TimeDelta::minutes(10)),
            capture: after(TimeDelta::hours(24)),
        };
        let order = replay(placed_at, deadlines, log.iter().map(|(event, version)| (event, *version)));
        Self { order: order.expect("the log begins with order.placed"), log }
    }

    fn after(answers: &[EventType]) -> Self {
        let mut logged = Self::placed();
        for answer in answers {
            logged.take(&Input::Event(sample(*answer), 1));
        }
        logged
    }

    /// Takes the input where it is valid; returns what the order publishes.
    fn take(&mut self, input: &Input) -> Vec<Event> {
        let transition = match input {
            Input::Event(event, version) => {
                react(&self.order, event, *version, &Moment::without_outage(self.order.placed_at)).ok()
            }
            Input::Cancel => decide_cancel(&self.order).ok(),
            Input::Outage => Some(decide_timeout(&self.order, &outage_at(self.order.deadlines.decision))),
            Input::Deadline => {
                Some(decide_timeout(&self.order, &Moment::without_outage(self.order.deadlines.capture)))
            }
        };
        let Some(Transition { next, events }) = transition else { return Vec::new() };
        let changed = next.version > self.order.version;
        if let Input::Event(event, version) = input
            && changed
        {
            self.log.push((event.clone(), *version));
        }
        for event in &events {
            let version = i64::try_from(self.log.len()).expect("few") + 1;
            self.log.push((event.clone(), version));
        }
        self.order = next;
        events
    }

    fn has(&self, event_type: EventType) -> bool {
        self.log.iter().any(|(event, _)| event.event_type() == event_type)
    }
}

fn answer_types() -> Vec<EventType> {
    let consumed = Service::Order.subscriptions().iter().copied();
    let of_products = [EventType::ProductListed, EventType::ProductDelisted];
    consumed.filter(|event_type| !of_products.contains(event_type)).collect()
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let answer = (select(answer_types()), 1..3_i64);
    let answer = answer.prop_map(|(event_type, version)| Input::Event(sample(event_type), version));
    let others = select(vec![Input::Cancel, Input::Outage, Input::Deadline]);
    vec(prop_oneof![8 => answer, 3 => others], 0..40)
}

/// All that inventory and payment may answer to an order that is cancelled.
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
    fn replayed_log_is_the_order(inputs in inputs()) {
        let mut logged = Logged::placed();
        for input in &inputs {
            logged.take(input);
            let Logged { order, log } = &logged;
            let events = log.iter().map(|(event, version)| (event, *version));
            let replayed = replay(order.placed_at, order.deadlines, events);
            prop_assert_eq!(replayed.as_ref(), Some(order));
            prop_assert_eq!(order.version, i64::try_from(log.len()).unwrap());
        }
    }

    #[test]
    fn order_is_confirmed_only_with_stock_and_money_and_ends_once(inputs in inputs()) {
        let mut logged = Logged::placed();
        for input in &inputs {
            for event in logged.take(input) {
                if event.event_type() == EventType::OrderConfirmed {
                    prop_assert!(logged.has(EventType::StockReserved));
                    prop_assert!(logged.has(EventType::PaymentAuthorized));
                    let participants = (logged.order.stock, logged.order.payment);
                    prop_assert_eq!(participants, (Stock::Reserved, Payment::Authorized));
                }
            }
        }
        let ends = [EventType::OrderCancelled, EventType::OrderCompleted];
        prop_assert!(logged.log.iter().filter(|(event, _)| ends.contains(&event.event_type())).count() <= 1);
    }

    #[test]
    fn repeat_changes_nothing(inputs in inputs()) {
        let mut logged = Logged::placed();
        for input in &inputs {
            logged.take(input);
            let order = &logged.order;
            for (event, version) in logged.log.iter().filter(|(event, _)| is_answer(event)) {
                let nothing = Transition { next: order.clone(), events: vec![] };
                prop_assert_eq!(react(order, event, *version, &outage_at(order.deadlines.capture)), Ok(nothing));
            }
        }
    }

    #[test]
    fn participants_only_advance_and_settled_stays(inputs in inputs()) {
        let mut logged = Logged::placed();
        for input in &inputs {
            let before = logged.order.clone();
            logged.take(input);
            let order = &logged.order;
            prop_assert!(!before.settled() || order.settled());
            prop_assert!(!before.stock.is_settled() || order.stock == before.stock);
            prop_assert!(!before.payment.is_settled() || order.payment == before.payment);
        }
    }

    #[test]
    fn late_answers_settle_a_cancelled_order_in_any_order(
        (answers, shuffled) in late_answers().prop_flat_map(|answers| (Just(answers.clone()), Just(answers).prop_shuffle())),
    ) {
        let end = |answers: &[EventType]| {
            let mut logged = Logged::placed();
            logged.take(&Input::Cancel);
            for answer in answers {
                let moment = Moment::without_outage(DateTime::UNIX_EPOCH);
                react(&logged.order, &sample(*answer), 1, &moment).expect("a late answer is never invalid");
                logged.take(&Input::Event(sample(*answer), 1));
            }
            logged.order
        };
        prop_assert!(end(&answers).settled());
        prop_assert_eq!(end(&answers), end(&shuffled));
    }
}

#[test]
fn second_of_stock_and_money_confirms() {
    let (stock, money) = (EventType::StockReserved, EventType::PaymentAuthorized);
    for (first, second) in [(stock, money), (money, stock)] {
        let Logged { order, .. } = Logged::after(&[first]);
        assert_eq!(order.status, Status::Pending);
        let transition = react(&order, &sample(second), 1, &Moment::without_outage(order.placed_at));
        let transition = transition.expect("it is valid");
        assert_eq!(transition.next.status, Status::Confirmed);
        assert_eq!(transition.events, [order.confirmed()]);
    }
}

#[test]
fn second_refund_counts_and_its_repeat_does_not() {
    let mut logged = Logged::after(&[EventType::StockReserved, EventType::PaymentAuthorized]);
    logged.take(&Input::Cancel);
    let total = logged.order.total.clone();
    let refund = |amount_minor| {
        let Event::PaymentRefunded(refund) = sample(EventType::PaymentRefunded) else { panic!("no refund") };
        Event::from(PaymentRefunded { amount: Money { amount_minor, ..total.clone() }, ..refund })
    };
    logged.take(&Input::Event(refund(100), 4));
    let once = logged.order.clone();
    assert_eq!((once.payment, once.refunded_minor), (Payment::Captured, 100), "a part of it");
    logged.take(&Input::Event(refund(100), 4));
    assert_eq!(logged.order, once, "the same refund again");
    logged.take(&Input::Event(sample(EventType::StockReleased), 3));
    assert!(!logged.order.settled(), "the rest is still to come back");
    let rest = refund(total.amount_minor - 100);
    logged.take(&Input::Event(rest.clone(), 5));
    assert_eq!((logged.order.payment, logged.order.refunded_minor), (Payment::Refunded, total.amount_minor));
    assert!(logged.order.settled());
    assert_eq!(logged.log.last(), Some(&(rest, 5)));
}

#[test]
fn invalid_transition_names_order_state_and_event() {
    let check = |before: &[EventType], event_type: EventType, state: &str| {
        let Logged { order, .. } = Logged::after(before);
        let error = react(&order, &sample(event_type), 1, &Moment::without_outage(order.placed_at));
        let error = error.expect_err(event_type.name());
        assert_eq!(error.to_string(), format!("order {} is {state} and cannot take {event_type}", order.id));
    };
    let confirmed = [EventType::StockReserved, EventType::PaymentAuthorized];
    let completed = [confirmed.as_slice(), &[EventType::PaymentCaptured]].concat();
    check(&[], EventType::PaymentCaptured, "pending (stock open, payment open)");
    check(&[], EventType::StockReleased, "pending (stock open, payment open)");
    check(&[], EventType::OrderPlaced, "pending (stock open, payment open)");
    let authorized = &[EventType::PaymentAuthorized];
    check(authorized, EventType::PaymentDeclined, "pending (stock open, payment authorized)");
    check(&confirmed, EventType::StockRejected, "confirmed (stock reserved, payment authorized)");
    check(&confirmed, EventType::PaymentDeclined, "confirmed (stock reserved, payment authorized)");
    check(&completed, EventType::PaymentCaptureFailed, "completed (stock reserved, payment captured)");
    let rejected = &[EventType::StockRejected];
    check(rejected, EventType::StockReserved, "cancelled (stock rejected, payment open)");
    check(rejected, EventType::ProductListed, "cancelled (stock rejected, payment open)");
}

#[test]
fn awaited_events_follow_the_state() {
    let check = |logged: &Logged, expected: &[(Service, &[EventType], bool)]| {
        let awaits = logged.order.awaits().into_iter();
        let awaits: Vec<_> = awaits.map(|next| (next.from, next.any_of, next.until.is_some())).collect();
        assert_eq!(awaits, expected);
    };
    let mut logged = Logged::after(&[EventType::StockReserved]);
    let answers: &[_] = &[EventType::PaymentAuthorized, EventType::PaymentDeclined];
    check(&logged, &[(Service::Payment, answers, true)]);
    logged.take(&Input::Event(sample(EventType::PaymentAuthorized), 1));
    let captures: &[_] = &[EventType::PaymentCaptured, EventType::PaymentCaptureFailed];
    check(&logged, &[(Service::Payment, captures, true)]);
    logged.take(&Input::Cancel);
    let refunds: &[_] = &[EventType::PaymentVoided, EventType::PaymentRefunded];
    check(
        &logged,
        &[(Service::Inventory, &[EventType::StockReleased], false), (Service::Payment, refunds, false)],
    );
    check(
        &Logged::after(&[EventType::StockReserved, EventType::PaymentAuthorized, EventType::PaymentCaptured]),
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
    PlaceOrder {
        customer: placed.customer,
        lines,
        payment_method: placed.payment_method,
        expected_total: None,
    }
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
fn total_is_the_sum_of_the_lines() {
    let placed = decide_place(Logged::placed().order.id, command(&[("TEA", 2), ("CUP", 1)]), &prices())
        .expect("it is fine");
    assert_eq!(placed.total, Money { amount_minor: 1890, currency: "EUR".parse().unwrap() });
    assert_eq!(placed.lines[0].unit_price.amount_minor, 450);
}

#[test]
fn command_that_breaks_a_rule_is_refused() {
    let check = |lines: &[(&str, i64)], expected: &str| {
        let refusal = decide_place(Logged::placed().order.id, command(lines), &prices()).expect_err(expected);
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
    check(&[("YACHT", 3)], "a total is at most 1000000000000 minor units");
    check(&[("YACHT", 2), ("TEA", 1)], "a total is at most 1000000000000 minor units");
}

#[test]
fn order_whose_total_is_not_the_expected_one_is_refused() {
    let place = |amount_minor, currency: &str| {
        let expected_total = Some(Money { amount_minor, currency: currency.parse().unwrap() });
        let command = PlaceOrder { expected_total, ..command(&[("TEA", 2)]) };
        decide_place(Logged::placed().order.id, command, &prices())
    };
    assert!(place(900, "EUR").is_ok());
    for (amount_minor, currency) in [(899, "EUR"), (900, "USD")] {
        let refusal = place(amount_minor, currency).expect_err("another total");
        assert_eq!(
            refusal.to_string(),
            "the total is 9.00 EUR, not what was expected: ask the customer again"
        );
    }
}
