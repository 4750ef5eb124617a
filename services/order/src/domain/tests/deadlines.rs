//! What becomes of an order at its deadline, by the watcher and by an answer.

use super::*;

#[test]
fn answer_after_the_deadline_cancels_as_the_watcher_would() {
    use EventType::{
        PaymentAuthorized, PaymentCaptureFailed, PaymentCaptured, PaymentDeclined, StockRejected,
        StockReserved,
    };
    let (none, confirmed) = ([].as_slice(), [StockReserved, PaymentAuthorized].as_slice());
    for (before, answer) in [
        (none, StockReserved),
        (none, StockRejected),
        (none, PaymentDeclined),
        (&[StockReserved], PaymentAuthorized),
        (&[PaymentAuthorized], StockReserved),
        (confirmed, PaymentCaptured),
        (confirmed, PaymentCaptureFailed),
    ] {
        let order = Logged::after(before).order;
        let deadline = order.deadline().expect("it waits");
        let at = |now| react(&order, &sample(answer), 1, &Moment::without_outage(now)).expect("it is valid");
        let late = at(deadline);
        let moment = Moment::without_outage(deadline);
        let by_watcher = decide_timeout(&order, &moment);
        assert_eq!(late.events, by_watcher.events, "{answer}");
        assert_eq!((late.next.status, late.next.reason), (Status::Cancelled, by_watcher.next.reason));
        let noted = react(&by_watcher.next, &sample(answer), 1, &moment).expect("it is valid").next;
        assert_eq!(late.next, noted, "{answer}: whichever comes first");
        let in_time = at(deadline - TimeDelta::microseconds(1));
        assert_eq!(in_time, at(order.placed_at));
    }
}

#[test]
fn answer_after_an_outage_counts_until_the_latest_decision() {
    let (stock, money) = (EventType::StockReserved, EventType::PaymentAuthorized);
    let order = Logged::after(&[stock]).order;
    let latest = order.deadlines.latest_decision;
    let at = |now| {
        let by_answer = react(&order, &sample(money), 1, &outage_at(now)).expect("it is valid").next;
        (by_answer, decide_timeout(&order, &outage_at(now)).next)
    };
    for now in [order.deadlines.decision, latest - TimeDelta::microseconds(1)] {
        let (by_answer, by_watcher) = at(now);
        assert_eq!(by_answer.status, Status::Confirmed);
        let postponed = (now + TimeDelta::seconds(30)).min(latest);
        assert_eq!((by_watcher.status, by_watcher.deadlines.decision), (Status::Pending, postponed));
        assert_eq!(by_watcher.version, order.version, "no event tells of it");
    }
    let (by_answer, by_watcher) = at(latest);
    for cancelled in [by_answer, by_watcher] {
        assert_eq!((cancelled.status, cancelled.reason), (Status::Cancelled, Some(CancelReason::TimedOut)));
    }
}

#[test]
fn an_order_is_cancelled_at_the_deadline_of_its_state() {
    let events = |order: &Order, now| decide_timeout(order, &Moment::without_outage(now)).events;
    let Logged { order: pending, .. } = Logged::placed();
    let Deadlines { decision, capture, .. } = pending.deadlines;
    assert!(events(&pending, decision - TimeDelta::microseconds(1)).is_empty());
    assert_eq!(events(&pending, decision), [pending.cancelled(CancelReason::TimedOut)]);
    let Logged { order: confirmed, .. } =
        Logged::after(&[EventType::StockReserved, EventType::PaymentAuthorized]);
    assert!(events(&confirmed, capture - TimeDelta::microseconds(1)).is_empty());
    assert_eq!(events(&confirmed, capture), [confirmed.cancelled(CancelReason::PaymentFailed)]);
    for answer in [EventType::PaymentCaptured, EventType::PaymentCaptureFailed] {
        let over = Logged::after(&[EventType::StockReserved, EventType::PaymentAuthorized, answer]);
        assert!(events(&over.order, capture).is_empty(), "{answer}");
    }
}
