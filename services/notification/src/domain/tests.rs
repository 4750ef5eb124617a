//! Any order of true events, any repeats, and calls that end whenever they like.

use contracts::samples::samples;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::*;
use contracts::EventType;

#[derive(Debug, Clone)]
enum Doing {
    /// One of the events that the service subscribes to.
    Consume(usize),
    /// The worker takes a job.
    StartCall,
    /// The mail server answers a call that is under way.
    EndCall { accepted: bool },
}

fn doings() -> impl Strategy<Value = Vec<Doing>> {
    let doing = prop_oneof![
        3 => (0..consumed_events().len()).prop_map(Doing::Consume),
        2 => proptest::strategy::Just(Doing::StartCall),
        2 => any::<bool>().prop_map(|accepted| Doing::EndCall { accepted }),
    ];
    proptest::collection::vec(doing, 0..40)
}

fn consumed_events() -> Vec<Event> {
    let events = samples().into_iter().map(|envelope| envelope.event);
    let subscriptions = system::Service::Notification.subscriptions();
    events.filter(|event| subscriptions.contains(&event.event_type())).collect()
}

fn event(event_type: EventType) -> Event {
    consumed_events().into_iter().find(|event| event.event_type() == event_type).expect("sampled")
}

/// The id of an event of this type: the same for a repeat.
fn id_of(event_type: EventType) -> Uuid {
    Uuid::from_u128(event_type as u128 + 1)
}

/// An order with its jobs, as the service runs them.
struct World {
    mails: OrderNotifications,
    jobs: Vec<Uuid>,
    calls: Vec<Uuid>,
    /// Every job that there ever was.
    queued: Vec<Uuid>,
    published: Vec<Event>,
    cancelled: bool,
}

impl World {
    fn new() -> Self {
        let order_id = event(EventType::OrderConfirmed).order_id().expect("about an order");
        let mails = OrderNotifications::placeholder(order_id);
        Self { mails, jobs: vec![], calls: vec![], queued: vec![], published: vec![], cancelled: false }
    }

    fn consume(&mut self, event: &Event) {
        self.cancelled |= matches!(event, Event::OrderCancelled(_));
        let (input, id) = (Input::Event(event.clone(), 1), id_of(event.event_type()));
        self.take(&input, id);
        let repeat = react(&self.mails, &input, Uuid::nil()).expect("valid");
        let nothing = Transition { next: self.mails.clone(), events: vec![], jobs: vec![] };
        assert_eq!(repeat, nothing, "a repeat changes nothing");
    }

    fn take(&mut self, input: &Input, id: Uuid) {
        let Transition { next, events, jobs } = react(&self.mails, input, id).expect("valid at any time");
        let changed = next != self.mails;
        assert_eq!(next.version - self.mails.version, i64::from(changed), "one version per change");
        self.mails = next;
        self.jobs.extend(&jobs);
        self.queued.extend(&jobs);
        self.published.extend(events);
        for notification in self.mails.notifications.values() {
            let queued = self.queued.iter().filter(|id| **id == notification.id).count();
            assert!(queued <= 1, "sent twice: {notification:?}");
        }
        for kind in NotificationKind::KNOWN {
            let published = self.published.iter().filter(|event| is_of(event, *kind)).count();
            assert!(published <= 1, "{kind} published twice");
        }
    }

    fn key(&self, id: Uuid) -> Key {
        let found = self.mails.notifications.iter().find(|(_, notification)| notification.id == id);
        *found.expect("a notification").0
    }

    fn start_call(&mut self) {
        let Some(id) = self.jobs.pop() else { return };
        let key = self.key(id);
        if self.mails.notifications[&key].status == Status::Queued {
            let overtaken = self.cancelled && key.0 == NotificationKind::Confirmed;
            assert!(!overtaken, "confirmed after the cancel");
            self.calls.push(id);
        }
    }

    fn end_call(&mut self, accepted: bool) {
        let Some(id) = self.calls.pop() else { return };
        let (attempts, reason) = (1, "550 no such mailbox".to_owned());
        let input = if accepted {
            Input::Accepted { id, attempts, at: DateTime::UNIX_EPOCH }
        } else {
            Input::Refused { id, attempts, reason }
        };
        self.take(&input, id);
    }

    fn status(&self, kind: NotificationKind) -> Status {
        self.mails.notifications[&(kind, 1)].status
    }
}

fn is_of(event: &Event, of: NotificationKind) -> bool {
    match event {
        Event::NotificationSent(NotificationSent { kind, .. })
        | Event::NotificationFailed(NotificationFailed { kind, .. }) => *kind == of,
        _ => false,
    }
}

proptest! {
    #[test]
    fn one_mail_per_kind_and_none_that_a_cancel_overtook(doings in doings()) {
        let events = consumed_events();
        let mut world = World::new();
        for doing in doings {
            match doing {
                Doing::Consume(number) => world.consume(&events[number]),
                Doing::StartCall => world.start_call(),
                Doing::EndCall { accepted } => world.end_call(accepted),
            }
        }
        events.iter().for_each(|event| world.consume(event));
        while !world.jobs.is_empty() || !world.calls.is_empty() {
            world.start_call();
            world.end_call(true);
        }
        for kind in [NotificationKind::Cancelled, NotificationKind::Refunded] {
            let status = world.status(kind);
            assert!(matches!(status, Status::Sent | Status::Failed), "{kind} is {status}");
        }
        let done = [Status::Sent, Status::Failed, Status::Dropped];
        assert!(done.contains(&world.status(NotificationKind::Confirmed)));
    }
}

/// Consumes the events, of which the last alone must lead to jobs for `queued`; `expected` are the statuses then.
#[track_caller]
fn check(consumed: &[EventType], queued: &[NotificationKind], expected: &[(NotificationKind, Status)]) {
    let mut world = World::new();
    for event_type in consumed {
        world.jobs.clear();
        world.consume(&event(*event_type));
    }
    let jobs: Vec<_> = world.jobs.iter().map(|id| world.key(*id).0).collect();
    assert_eq!(jobs, queued);
    let statuses = world.mails.notifications.iter().map(|((kind, _), it)| (*kind, it.status));
    assert_eq!(statuses.collect::<Vec<_>>(), expected);
}

#[test]
fn refund_waits_until_the_cancel_is_consumed() {
    use NotificationKind::{Cancelled, Refunded};
    check(&[EventType::PaymentRefunded], &[], &[(Refunded, Status::Waiting)]);
    let confirmed = (NotificationKind::Confirmed, Status::Queued);
    let events = [EventType::OrderConfirmed, EventType::PaymentRefunded];
    check(&events, &[], &[confirmed, (Refunded, Status::Waiting)]);
    check(
        &[EventType::PaymentRefunded, EventType::OrderCancelled],
        &[Cancelled, Refunded],
        &[(Cancelled, Status::Queued), (Refunded, Status::Queued)],
    );
}

#[test]
fn unsent_confirmation_is_dropped_by_the_cancel() {
    use NotificationKind::{Cancelled, Confirmed};
    let expected = [(Confirmed, Status::Dropped), (Cancelled, Status::Queued)];
    check(&[EventType::OrderConfirmed, EventType::OrderCancelled], &[Cancelled], &expected);
    check(&[EventType::OrderCancelled, EventType::OrderConfirmed], &[], &expected);
}

#[test]
fn mail_that_left_before_its_drop_counts_as_sent() {
    let mut world = World::new();
    world.consume(&event(EventType::OrderConfirmed));
    world.start_call();
    world.consume(&event(EventType::OrderCancelled));
    world.end_call(true);
    assert_eq!(world.status(NotificationKind::Confirmed), Status::Sent);
    assert!(is_of(&world.published[0], NotificationKind::Confirmed));
}

#[test]
fn refused_mail_keeps_and_publishes_its_reason() {
    let mut world = World::new();
    world.consume(&event(EventType::OrderConfirmed));
    world.start_call();
    world.end_call(false);
    let Event::NotificationFailed(failed) = &world.published[0] else { panic!("{:?}", world.published) };
    assert_eq!(failed.reason, "550 no such mailbox");
    let notification = &world.mails.notifications[&(NotificationKind::Confirmed, 1)];
    assert_eq!(notification.reason.as_ref(), Some(&failed.reason));
}

#[test]
fn second_refund_gets_a_mail_and_its_repeat_does_not() {
    let mut world = World::new();
    world.consume(&event(EventType::OrderCancelled));
    let refund = |version| Input::Event(event(EventType::PaymentRefunded), version);
    for (version, id, mails) in [(4, 14, 1), (4, 14, 1), (5, 15, 2)] {
        world.mails = react(&world.mails, &refund(version), Uuid::from_u128(id)).expect("valid").next;
        let refunds =
            world.mails.notifications.keys().filter(|(kind, _)| *kind == NotificationKind::Refunded);
        assert_eq!(refunds.count(), mails, "after version {version}");
    }
}

#[test]
fn result_of_a_call_never_made_is_invalid() {
    let mails = World::new().mails;
    let id = Uuid::from_u128(7);
    let accepted = Input::Accepted { id, attempts: 1, at: DateTime::UNIX_EPOCH };
    let invalid = react(&mails, &accepted, id).expect_err("nothing was queued");
    let expected = format!("notification {id} is not known and cannot take mail accepted");
    assert_eq!(invalid.to_string(), expected);
}
