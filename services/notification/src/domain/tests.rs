//! Any order of true events, any repeats, and calls that end whenever they like.

use contracts::samples::samples;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::*;
use contracts::EventType;

#[derive(Debug, Clone)]
enum Step {
    /// One of the events that the service subscriptions.
    Hear(usize),
    /// The worker takes a job.
    StartCall,
    /// The mail server answers a call that is under way.
    EndCall { accepted: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..system::Service::Notification.subscriptions().len()).prop_map(Step::Hear),
        2 => proptest::strategy::Just(Step::StartCall),
        2 => any::<bool>().prop_map(|accepted| Step::EndCall { accepted }),
    ];
    proptest::collection::vec(step, 0..40)
}

fn heard_events() -> Vec<Event> {
    let events = samples().into_iter().map(|envelope| envelope.event);
    events
        .filter(|event| system::Service::Notification.subscriptions().contains(&event.event_type()))
        .collect()
}

fn event(event_type: EventType) -> Event {
    heard_events().into_iter().find(|event| event.event_type() == event_type).expect("sampled")
}

/// An order with its jobs, as the service runs them.
struct World {
    mails: OrderNotifications,
    jobs: Vec<NotificationKind>,
    calls: Vec<NotificationKind>,
    /// Every job that there ever was.
    queued: Vec<NotificationKind>,
    announced: Vec<Event>,
    cancelled: bool,
}

impl World {
    fn new() -> Self {
        let order_id = event(EventType::OrderConfirmed).order_id().expect("about an order");
        let mails = OrderNotifications::placeholder(order_id);
        Self { mails, jobs: vec![], calls: vec![], queued: vec![], announced: vec![], cancelled: false }
    }

    fn hear(&mut self, event: &Event) {
        let before = self.mails.clone();
        let fresh_id = Uuid::from_u128(self.queued.len() as u128 + 1);
        let queued = self.mails.hear(event, fresh_id).expect("every event can happen at any time");
        self.jobs.extend(&queued);
        self.queued.extend(&queued);
        self.cancelled |= matches!(event, Event::OrderCancelled(_));
        self.check(&before);
        let once = self.mails.clone();
        assert_eq!(self.mails.hear(event, Uuid::nil()), Ok(vec![]), "a repeat sends nothing");
        assert_eq!(self.mails, once, "a repeat changes nothing");
    }

    fn start_call(&mut self) {
        let Some(kind) = self.jobs.pop() else { return };
        if self.mails.notifications[&kind].status == Status::Queued {
            assert!(!(self.cancelled && kind == NotificationKind::Confirmed), "confirmed after the cancel");
            self.calls.push(kind);
        } else {
            assert_eq!(self.mails.record(kind, 1, &Outcome::NotSent), Ok(None));
        }
    }

    fn end_call(&mut self, accepted: bool) {
        let Some(kind) = self.calls.pop() else { return };
        let before = self.mails.clone();
        let outcome = if accepted {
            Outcome::Sent { at: DateTime::UNIX_EPOCH }
        } else {
            Outcome::Failed { reason: "550 no such mailbox".to_owned() }
        };
        self.announced.extend(self.mails.record(kind, 1, &outcome).expect("a call that was made can end"));
        self.check(&before);
    }

    fn check(&self, before: &OrderNotifications) {
        let changed = self.mails != *before;
        assert_eq!(self.mails.version - before.version, i64::from(changed), "one version per change");
        for kind in NotificationKind::KNOWN {
            assert!(self.queued.iter().filter(|queued| *queued == kind).count() <= 1, "{kind} sent twice");
            assert!(
                self.announced.iter().filter(|event| is_of(event, *kind)).count() <= 1,
                "{kind} told twice"
            );
        }
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
    fn one_mail_per_kind_and_none_that_a_cancel_overtook(steps in steps()) {
        let events = heard_events();
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Hear(number) => world.hear(&events[number]),
                Step::StartCall => world.start_call(),
                Step::EndCall { accepted } => world.end_call(accepted),
            }
        }
        events.iter().for_each(|event| world.hear(event));
        while !world.jobs.is_empty() || !world.calls.is_empty() {
            world.start_call();
            world.end_call(true);
        }
        let status = |kind| world.mails.notifications[&kind].status;
        for kind in [NotificationKind::Cancelled, NotificationKind::Refunded] {
            assert!(matches!(status(kind), Status::Sent | Status::Failed), "{kind} is {}", status(kind));
        }
        let done = [Status::Sent, Status::Failed, Status::Dropped];
        assert!(done.contains(&status(NotificationKind::Confirmed)));
    }
}

/// Hears `heard`, of which the last alone must lead to jobs for `queued`; `expected` are the statuses then.
#[track_caller]
fn check(heard: &[EventType], queued: &[NotificationKind], expected: &[(NotificationKind, Status)]) {
    let mut mails = World::new().mails;
    let mut last = Vec::new();
    for (number, event_type) in heard.iter().enumerate() {
        last = mails.hear(&event(*event_type), Uuid::from_u128(number as u128)).expect("possible");
    }
    assert_eq!(last, queued);
    let statuses: Vec<_> = mails.notifications.iter().map(|(kind, it)| (*kind, it.status)).collect();
    assert_eq!(statuses, expected);
}

#[test]
fn a_refund_waits_until_somebody_says_where_to() {
    use NotificationKind::{Cancelled, Refunded};
    check(&[EventType::PaymentRefunded], &[], &[(Refunded, Status::Waiting)]);
    check(
        &[EventType::PaymentRefunded, EventType::OrderCancelled],
        &[Cancelled, Refunded],
        &[(Cancelled, Status::Queued), (Refunded, Status::Queued)],
    );
}

#[test]
fn a_confirmation_that_was_not_sent_is_dropped_by_the_cancel() {
    use NotificationKind::{Cancelled, Confirmed};
    let expected = [(Confirmed, Status::Dropped), (Cancelled, Status::Queued)];
    check(&[EventType::OrderConfirmed, EventType::OrderCancelled], &[Cancelled], &expected);
    check(&[EventType::OrderCancelled, EventType::OrderConfirmed], &[], &expected);
}

#[test]
fn a_mail_that_left_before_its_drop_is_sent_all_the_same() {
    let mut world = World::new();
    world.hear(&event(EventType::OrderConfirmed));
    world.start_call();
    world.hear(&event(EventType::OrderCancelled));
    world.end_call(true);
    assert_eq!(world.mails.notifications[&NotificationKind::Confirmed].status, Status::Sent);
    assert!(is_of(&world.announced[0], NotificationKind::Confirmed));
}

#[test]
fn a_refusal_keeps_its_reason_and_announces_it() {
    let mut world = World::new();
    world.hear(&event(EventType::OrderConfirmed));
    world.start_call();
    world.end_call(false);
    let Event::NotificationFailed(failed) = &world.announced[0] else { panic!("{:?}", world.announced) };
    assert_eq!(failed.reason, "550 no such mailbox");
    assert_eq!(world.mails.notifications[&NotificationKind::Confirmed].reason.as_ref(), Some(&failed.reason));
}

#[test]
fn the_end_of_a_call_that_was_never_made_is_impossible() {
    let mut mails = World::new().mails;
    let outcome = Outcome::Sent { at: DateTime::UNIX_EPOCH };
    let error = mails.record(NotificationKind::Confirmed, 1, &outcome).expect_err("nothing was queued");
    assert_eq!(error.to_string(), "Accepted cannot happen to a confirmed notification that is not there");
}
