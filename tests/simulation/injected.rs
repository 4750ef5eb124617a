//! Faults that are injected, each in a function around a shipped one or in a guard left out: each must be found.

use std::ops::Range;

use chrono::{DateTime, Utc};
use contracts::{CancelReason, Event, InvalidTransition, OrderCancelled};
use inventory::domain::{MovementKind, Reservation, Status as Held, Stock};
use notification::domain::{Input as Told, OrderNotifications};
use order::domain::{MessageFlow, Moment, Order};
use payment::domain::{Action, Answer, Input, Payment, Status as Paid};
use payment::ledger::{Posting, PostingKind};
use payment::processor::Request;
use uuid::Uuid;

use crate::hunt::first_failing;
use crate::system::{Publishing, System};

/// A fault that is there is found within so many seeds.
const SEEDS: Range<u64> = 0..10_000;
/// What breaks when a deadline takes no account of an outage.
const OUTAGE: &[&str] = &["no order times out by an outage of our own"];

#[test]
fn a_ledger_that_posts_what_it_knows_is_found() {
    let system = System { payment: posts_what_it_knows, ..System::FORGETFUL };
    finds(system, &["the ledger says what the processor's books say"]);
}

#[test]
fn a_timeout_taken_for_declined_is_found() {
    let system = System { silence: taken_for_declined, ..System::SHIPPED };
    finds(system, &["what was captured is a completed order's, or refunded"]);
}

#[test]
fn a_release_that_forgets_the_stock_is_found() {
    let system = System { inventory: forgets_the_stock, ..System::SHIPPED };
    finds(system, &["reserved stock is somebody's"]);
}

#[test]
fn reserving_without_a_look_at_the_shelf_is_found() {
    let system = System { inventory: reserves_blindly, ..System::SHIPPED };
    finds(system, &["nothing is oversold"]);
}

#[test]
fn release_that_returns_no_stock_is_found() {
    let system = System { inventory: returns_nothing, ..System::SHIPPED };
    finds(system, &["what left the shelf was sold"]);
}

#[test]
fn a_confirmation_that_inventory_ignores_is_found() {
    let system = System { inventory: ignores_the_confirmation, ..System::SHIPPED };
    finds(system, &["stock ends as its order does"]);
}

#[test]
fn a_mail_that_is_never_queued_is_found() {
    let system = System { notification: queues_nothing, ..System::SHIPPED };
    finds(system, &["no notification stays open"]);
}

#[test]
fn a_mail_that_forgets_those_before_it_is_found() {
    let system = System { notification: forgets_what_was_written, ..System::FORGETFUL };
    finds(
        system,
        &[
            "an order has one notification of each kind due",
            "an order gets one mail of each kind",
            "analytics counts the mails",
            "analytics counts each event once",
            "mails leave in the order of their causes",
        ],
    );
}

#[test]
fn a_cancel_that_leaves_no_tombstone_is_found() {
    let system = System { payment: leaves_no_tombstone, ..System::SHIPPED };
    finds(system, &["every order is completed, or cancelled and settled"]);
}

#[test]
fn money_taken_before_the_order_is_confirmed_is_found() {
    let system = System { payment: captures_at_once, ..System::SHIPPED };
    finds(system, &["nothing is captured without a confirmed order"]);
}

#[test]
fn stock_that_is_gone_twice_is_found() {
    let system = System { inventory: commits_again, ..System::FORGETFUL };
    finds(system, &["reserved stock is somebody's", "nothing is oversold"]);
}

#[test]
fn a_refund_that_is_forgotten_is_found() {
    let system = System { payment: forgets_the_refund, ..System::SHIPPED };
    finds(system, &["every order is completed, or cancelled and settled"]);
}

#[test]
fn a_new_key_for_every_attempt_is_found() {
    let system = System { key: new_for_every_attempt, ..System::SHIPPED };
    finds(
        system,
        &[
            "an order is authorized and captured at most once",
            "the processor refuses no call",
            "a run comes to rest",
        ],
    );
}

#[test]
fn an_order_that_does_not_note_late_answers_is_found() {
    let system = System { order: does_not_note_late_answers, ..System::SHIPPED };
    finds(system, &["every order is completed, or cancelled and settled"]);
}

#[test]
fn a_deadline_that_cancels_what_is_over_is_found() {
    let system = System { timeout: cancels_what_is_over, ..System::SHIPPED };
    finds(
        system,
        &["a status never goes back", "the log of an order holds no event twice", "no transition is invalid"],
    );
}

#[test]
fn a_deadline_that_ignores_an_outage_is_found() {
    finds(System { timeout: cancels_in_an_outage, ..System::SHIPPED }, OUTAGE);
}

#[test]
fn an_answer_that_is_late_by_an_outage_is_found() {
    finds(System { order: is_late_by_an_outage, ..System::SHIPPED }, OUTAGE);
}

#[test]
fn a_note_that_forgets_the_outage_is_found() {
    finds(System { flow: forgets_the_outage, ..System::SHIPPED }, OUTAGE);
}

#[test]
fn a_confirmation_after_the_cancel_is_found() {
    let system = System { jobs_run_in_order: false, ..System::SHIPPED };
    finds(system, &["mails leave in the order of their causes"]);
}

#[test]
fn publishing_before_the_commit_is_found() {
    finds(System { publishing: Publishing::BeforeCommit, ..System::SHIPPED }, &[]);
}

#[test]
fn publishing_after_the_commit_without_an_outbox_is_found() {
    let system = System { publishing: Publishing::AfterCommit, ..System::SHIPPED };
    finds(system, &["every order is completed, or cancelled and settled", "the newest price is the price"]);
}

#[test]
fn counting_without_an_inbox_is_found() {
    let system = System { analytics_has_an_inbox: false, ..System::SHIPPED };
    finds(system, &["analytics counts each event once"]);
}

#[test]
fn finding_is_shrunk_to_few_steps() {
    let system = System { inventory: forgets_the_stock, ..System::SHIPPED };
    let finding = first_failing(system, SEEDS).expect("an injected fault is found");
    let shortest = finding.shortest(system);
    assert_eq!(shortest.violation.invariant, finding.violation.invariant);
    assert!(shortest.choices < finding.choices(), "{} choices", shortest.choices);
    let placed = shortest.steps.matches("places order").count();
    assert_eq!(placed, 1, "one order shows it:\n{}", shortest.steps);
    assert!(shortest.steps.contains("inventory consumes order.cancelled of order 1"), "{}", shortest.steps);
}

/// The hunt finds the fault, and by one of these invariants; any will do when none is named.
#[track_caller]
pub(crate) fn finds(system: System, invariants: &[&str]) {
    let finding = first_failing(system, SEEDS).expect("an injected fault is found");
    let found = finding.violation.invariant;
    assert!(
        invariants.is_empty() || invariants.contains(&found),
        "seed {}: {}",
        finding.seed,
        finding.violation
    );
}

type React<T> = Result<T, InvalidTransition>;
pub(crate) type Paying = React<payment::domain::Transition>;
type Writing = React<notification::domain::Transition>;
type Holding = React<inventory::domain::Transition>;
type Ordering = React<order::domain::Transition>;

/// An answer that is recorded again is posted again.
fn posts_what_it_knows(payment: &Payment, input: &Input) -> Paying {
    let mut transition = payment::domain::react(payment, input)?;
    let repeated = transition.next == *payment;
    if let (true, Input::Answered(Answer::Approved { .. }), Some(terms)) = (repeated, input, &payment.terms) {
        let (kind, amount) = (PostingKind::Authorized, terms.amount.clone());
        transition.postings.push(Posting { kind, number: 1, amount });
    }
    Ok(transition)
}

/// The row is there, its job is not.
fn queues_nothing(mails: &OrderNotifications, input: &Told, id: Uuid) -> Writing {
    let mut transition = notification::domain::react(mails, input, id)?;
    transition.jobs.clear();
    Ok(transition)
}

/// Nothing keeps a mail from being written twice.
fn forgets_what_was_written(mails: &OrderNotifications, input: &Told, id: Uuid) -> Writing {
    let mut forgetful = mails.clone();
    if matches!(input, Told::Event(..)) {
        forgetful.notifications.clear();
    }
    notification::domain::react(&forgetful, input, id)
}

/// The processor gave no answer, so it cannot have held anything.
fn taken_for_declined(action: Action) -> Option<Answer> {
    (action == Action::Authorize).then(|| Answer::Declined { reason: "no answer".to_owned() })
}

/// The reservation ends, and its stock stays reserved.
fn forgets_the_stock(reservation: &Reservation, stock: &Stock, event: &Event) -> Holding {
    let mut transition = inventory::domain::react(reservation, stock, event)?;
    if transition.next.status == Held::Released {
        transition.movements.clear();
    }
    Ok(transition)
}

/// What had left the shelf stays away.
fn returns_nothing(reservation: &Reservation, stock: &Stock, event: &Event) -> Holding {
    let mut transition = inventory::domain::react(reservation, stock, event)?;
    transition.movements.retain(|movement| movement.kind != MovementKind::Returned);
    Ok(transition)
}

fn ignores_the_confirmation(reservation: &Reservation, stock: &Stock, event: &Event) -> Holding {
    if matches!(event, Event::OrderConfirmed(_)) {
        let (next, events, movements) = (reservation.clone(), Vec::new(), Vec::new());
        return Ok(inventory::domain::Transition { next, events, movements });
    }
    inventory::domain::react(reservation, stock, event)
}

/// A confirmation that is consumed again takes the stock again.
fn commits_again(reservation: &Reservation, stock: &Stock, event: &Event) -> Holding {
    let again = reservation.status == Held::Committed && matches!(event, Event::OrderConfirmed(_));
    let reserved = Reservation { status: Held::Reserved, ..reservation.clone() };
    inventory::domain::react(if again { &reserved } else { reservation }, stock, event)
}

/// The shelf is always full.
pub(crate) fn reserves_blindly(reservation: &Reservation, stock: &Stock, event: &Event) -> Holding {
    let mut full = stock.clone();
    full.0.values_mut().for_each(|level| level.on_hand += 1_000);
    inventory::domain::react(reservation, &full, event)
}

/// A cancel that overtakes its order is nothing to remember.
pub(crate) fn leaves_no_tombstone(payment: &Payment, input: &Input) -> Paying {
    if (payment.status, input) == (Paid::Placeholder, &Input::Cancelled) {
        let (next, events) = (payment.clone(), Vec::new());
        return Ok(payment::domain::Transition { next, events, jobs: Vec::new(), postings: Vec::new() });
    }
    payment::domain::react(payment, input)
}

/// The cancel that came during the capture is forgotten.
pub(crate) fn forgets_the_refund(payment: &Payment, input: &Input) -> Paying {
    let forgetful = Payment { cancel_requested: false, ..payment.clone() };
    let captured = matches!(input, Input::Answered(Answer::Captured { .. }));
    payment::domain::react(if captured { &forgetful } else { payment }, input)
}

/// Money that can be captured is captured, whatever becomes of the order.
pub(crate) fn captures_at_once(payment: &Payment, input: &Input) -> Paying {
    let transition = payment::domain::react(payment, input)?;
    if (payment.status, transition.next.status) != (Paid::Authorizing, Paid::Authorized) {
        return Ok(transition);
    }
    let capturing = payment::domain::react(&transition.next, &Input::Confirmed)?;
    let (events, postings) = (transition.events, transition.postings);
    Ok(payment::domain::Transition { events, postings, ..capturing })
}

fn new_for_every_attempt(request: &Request, attempt: u32) -> String {
    format!("{}:{attempt}", request.idempotency_key())
}

/// An order that is cancelled consumes no more.
fn does_not_note_late_answers(
    order: &Order,
    event: &Event,
    aggregate_version: i64,
    moment: &Moment,
) -> Ordering {
    match order.status {
        order::state::Status::Cancelled => {
            Ok(order::domain::Transition { next: order.clone(), events: Vec::new() })
        }
        _ => order::domain::react(order, event, aggregate_version, moment),
    }
}

/// The deadline is the deadline, whatever the order has become.
pub(crate) fn cancels_what_is_over(order: &Order, moment: &Moment) -> order::domain::Transition {
    let deadlines = order.deadlines.postponed(moment);
    let (next, mut events) = (Order { deadlines, ..order.clone() }, Vec::new());
    if moment.now < deadlines.decision {
        return order::domain::Transition { next, events };
    }
    let reason = CancelReason::TimedOut;
    events.push(OrderCancelled { order_id: order.id, customer: order.customer.clone(), reason }.into());
    let (status, version) = (order::state::Status::Cancelled, order.version + 1);
    let next = Order { status, version, reason: Some(reason), ..next };
    order::domain::Transition { next, events }
}

/// The deadline is the deadline, whatever kept the answers away.
fn cancels_in_an_outage(order: &Order, moment: &Moment) -> order::domain::Transition {
    order::domain::decide_timeout(order, &Moment::without_outage(moment.now))
}

/// An answer is late, whatever kept it away.
fn is_late_by_an_outage(order: &Order, event: &Event, aggregate_version: i64, moment: &Moment) -> Ordering {
    order::domain::react(order, event, aggregate_version, &Moment::without_outage(moment.now))
}

/// Messages flow since they first did.
fn forgets_the_outage(flow: MessageFlow, now: DateTime<Utc>) -> MessageFlow {
    MessageFlow { since: flow.since, seen_at: now }
}
