//! Whatever the order of the events and however they are cut into batches, the counts come out the same.

use contracts::{
    NotificationFailed, NotificationKind, NotificationSent, OrderCancelled, OrderCompleted, OrderConfirmed,
    OrderPlaced, PaymentCaptured, PaymentRefunded, StockReleased,
};
use proptest::prelude::{Just, Strategy, any, proptest};
use uuid::Uuid;

use super::*;

/// The counts as tables would hold them: deltas added up, and the facts of every order.
#[derive(Debug, Default)]
struct Tables {
    orders: HashMap<OrderId, OrderFacts>,
    counts: Counts,
}

impl Tables {
    fn apply(&mut self, batch: &[Event]) {
        let known = |event: &Event| event.order_id().and_then(|id| Some((id, self.orders.get(&id)?.clone())));
        let mut projection = Projection::of(batch.iter().filter_map(known).collect());
        batch.iter().for_each(|event| projection.count(DateTime::UNIX_EPOCH, event, 1));
        self.orders.extend(projection.changed().map(|(id, order)| (id, order.clone())));
        self.add(&projection.delta);
    }

    fn add(&mut self, delta: &Counts) {
        for (status, orders) in &delta.orders {
            *self.counts.orders.entry(*status).or_default() += orders;
        }
        self.counts.orders.retain(|status, orders| {
            assert!(*orders >= 0, "{status:?}: {orders}");
            *orders > 0
        });
        for (currency, revenue) in &delta.revenue {
            let total = self.counts.revenue.entry(currency.clone()).or_default();
            total.captured_minor += revenue.captured_minor;
            total.refunded_minor += revenue.refunded_minor;
        }
        self.counts.mails_sent += delta.mails_sent;
        self.counts.mails_failed += delta.mails_failed;
        self.counts.events += delta.events;
        self.counts.newest_event_at = self.counts.newest_event_at.max(delta.newest_event_at);
    }
}

/// The end that the order of that number comes to.
#[derive(Debug, Clone, Copy)]
enum End {
    Open,
    Confirmed,
    Completed,
    Cancelled(CancelReason),
    Refunded,
}

fn end() -> impl Strategy<Value = End> {
    let ends = [
        End::Open,
        End::Confirmed,
        End::Completed,
        End::Cancelled(CancelReason::OutOfStock),
        End::Cancelled(CancelReason::TimedOut),
        End::Refunded,
    ];
    proptest::sample::select(ends.to_vec())
}

fn events_of(number: u128, end: End) -> Vec<Event> {
    let order_id = OrderId(Uuid::from_u128(number));
    let payment_id = Uuid::from_u128(number);
    let customer = contracts::Customer {
        id: "customer-1".parse().expect("an id"),
        email: "ada@example.com".parse().expect("an address"),
    };
    let currency = if number.is_multiple_of(2) { "EUR" } else { "USD" };
    let amount = Money { amount_minor: 100, currency: currency.parse().expect("a currency") };
    let mut events = vec![
        OrderPlaced {
            order_id,
            customer: customer.clone(),
            lines: vec![],
            total: amount.clone(),
            payment_method: "pm_card_visa".parse().expect("a payment method"),
        }
        .into(),
    ];
    let confirmed =
        OrderConfirmed { order_id, customer: customer.clone(), lines: vec![], total: amount.clone() };
    let captured = PaymentCaptured { order_id, payment_id, amount: amount.clone() };
    let sent = NotificationSent { order_id, notification_id: payment_id, kind: NotificationKind::Confirmed };
    let cancelled = |reason| OrderCancelled { order_id, customer: customer.clone(), reason };
    let failed = NotificationFailed {
        order_id,
        notification_id: payment_id,
        kind: NotificationKind::Cancelled,
        reason: "550".to_owned(),
    };
    match end {
        End::Open => {}
        End::Confirmed => events.extend([confirmed.into(), sent.into()]),
        End::Completed => {
            let completed =
                OrderCompleted { order_id, customer: customer.clone(), lines: vec![], total: amount };
            events.extend([confirmed.into(), captured.into(), sent.into(), completed.into()]);
        }
        End::Cancelled(reason) => {
            let released = StockReleased { order_id, lines: vec![] };
            events.extend([cancelled(reason).into(), failed.into(), released.into()]);
        }
        End::Refunded => {
            let cancelled = cancelled(CancelReason::CustomerRequest);
            let refunded = PaymentRefunded { order_id, payment_id, amount };
            events.extend([confirmed.into(), cancelled.into(), captured.into(), refunded.into()]);
        }
    }
    events
}

fn history() -> impl Strategy<Value = (Vec<End>, Vec<Event>)> {
    proptest::collection::vec(end(), 1..8).prop_flat_map(|ends| {
        let events: Vec<_> = (1..).zip(&ends).flat_map(|(number, end)| events_of(number, *end)).collect();
        (Just(ends), Just(events).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn any_order_and_any_batches_give_the_same_counts(
        (ends, events) in history(),
        batch in 1..10_usize,
        once_more in any::<proptest::sample::Index>(),
    ) {
        let mut tables = Tables::default();
        events.chunks(batch).for_each(|batch| tables.apply(batch));
        let mut in_order = Tables::default();
        for (number, end) in (1..).zip(&ends) {
            in_order.apply(&events_of(number, *end));
        }
        assert_eq!(tables.counts, in_order.counts);
        assert_eq!(tables.orders, in_order.orders);

        let count = |wanted: fn(&End) -> bool| ends.iter().filter(|end| wanted(end)).count() as i64;
        let orders = |status| tables.counts.orders.get(&status).copied().unwrap_or_default();
        assert_eq!(tables.counts.placed(), count(|_| true));
        assert_eq!(orders(Status::Completed), count(|end| matches!(end, End::Completed)));
        assert_eq!(
            orders(Status::Cancelled(CancelReason::CustomerRequest)),
            count(|end| matches!(end, End::Refunded))
        );

        // The same fact under another event id, as from a relay that forgot: only the events are more.
        let repeated = events[once_more.index(events.len())].clone();
        let (orders, revenue) = (tables.counts.orders.clone(), tables.counts.revenue.clone());
        tables.apply(&[repeated]);
        assert_eq!((tables.counts.orders, tables.counts.revenue), (orders, revenue));
    }
}

#[test]
fn an_order_is_counted_before_its_order_placed_comes() {
    let mut tables = Tables::default();
    let mut events = events_of(2, End::Refunded);
    events.reverse();
    tables.apply(&events[..1]);
    assert_eq!(tables.counts.orders, BTreeMap::from([(Status::Pending, 1)]));
    tables.apply(&events[1..]);
    assert_eq!(tables.counts.orders, BTreeMap::from([(Status::Cancelled(CancelReason::CustomerRequest), 1)]));
    let eur = tables.counts.revenue[&"EUR".parse().expect("a currency")];
    assert_eq!((eur.captured_minor, eur.refunded_minor, eur.net_minor()), (100, 100, 0));
}

#[test]
fn conversion_is_a_ratio_of_the_orders_placed() {
    let mut tables = Tables::default();
    assert_eq!(tables.counts.conversion(), None);
    for (number, end) in [(1, End::Completed), (2, End::Open), (3, End::Completed), (4, End::Confirmed)] {
        tables.apply(&events_of(number, end));
    }
    assert_eq!(tables.counts.conversion(), Some(0.5));
}

#[test]
fn every_status_reads_back_from_its_words() {
    let cancelled = CancelReason::KNOWN.iter().copied().map(Status::Cancelled);
    for status in [Status::Pending, Status::Confirmed, Status::Completed].into_iter().chain(cancelled) {
        let reason = status.reason().map(|reason| reason.into_str());
        assert_eq!(Status::from_words(status.into_str(), reason), Some(status));
    }
    assert_eq!(Status::from_words("cancelled", None), None);
}

#[test]
fn repeat_of_a_mail_counts_once_and_a_sent_one_is_sent() {
    let (order_id, notification_id) = (OrderId(Uuid::from_u128(2)), Uuid::from_u128(3));
    let kind = NotificationKind::Confirmed;
    let sent = Event::from(NotificationSent { order_id, notification_id, kind });
    let reason = "no such mailbox".to_owned();
    let failed = Event::from(NotificationFailed { order_id, notification_id, kind, reason });
    let mut projection = Projection::default();
    for event in [&failed, &sent, &sent, &failed] {
        projection.count(DateTime::UNIX_EPOCH, event, 1);
    }
    assert_eq!((projection.delta.mails_sent, projection.delta.mails_failed), (1, 0));
}

#[test]
fn second_refund_counts_and_its_repeat_does_not() {
    let amount = Money { amount_minor: 40, currency: "EUR".parse().expect("a currency") };
    let (order_id, payment_id) = (OrderId(Uuid::from_u128(2)), Uuid::from_u128(2));
    let refund = Event::from(PaymentRefunded { order_id, payment_id, amount });
    let mut projection = Projection::default();
    for aggregate_version in [4, 4, 5] {
        projection.count(DateTime::UNIX_EPOCH, &refund, aggregate_version);
    }
    let eur = projection.delta.revenue[&"EUR".parse().expect("a currency")];
    assert_eq!(eur.refunded_minor, 80);
}
