//! Whatever comes, in whatever order and however often: no money is captured without a confirmed order, none is captured
//! or refunded twice, and a cancelled order gets exactly one compensation reply.

use std::collections::HashMap;

use contracts::{Event, EventType, Money, OrderId};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
};
use strum::VariantArray;
use uuid::Uuid;

use crate::domain::{Action, Answer, Input, Moved, Payment, Status, Terms, Transition, react};
use crate::ledger::{Account, PostingKind};

/// What may happen next. What cannot happen yet in the world at hand is skipped.
#[derive(Debug, Clone)]
enum Step {
    Place,
    Confirm,
    Cancel,
    /// A cancel comes before the call to authorize is ever made.
    Withdraw,
    /// The outstanding call ends, well or (where it can) badly.
    Answer(bool),
    /// An input that came before comes again.
    Repeat(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Place),
        Just(Step::Confirm),
        Just(Step::Cancel),
        Just(Step::Withdraw),
        any::<bool>().prop_map(Step::Answer),
        any::<usize>().prop_map(Step::Repeat),
    ];
    vec(step, 0..24)
}

/// The payment, the order service and the processor around it.
struct World {
    payment: Payment,
    taken: Vec<Input>,
    published: Vec<EventType>,
    calls: Vec<Action>,
    outstanding: Vec<Action>,
    postings: Vec<(PostingKind, i32)>,
    balances: HashMap<Account, i64>,
}

impl World {
    fn new() -> Self {
        Self {
            payment: Payment::placeholder(OrderId(Uuid::from_u128(1))),
            taken: Vec::new(),
            published: Vec::new(),
            calls: Vec::new(),
            outstanding: Vec::new(),
            postings: Vec::new(),
            balances: HashMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Place => self.take_input(Input::Placed(terms())),
            // The order is confirmed only once it has consumed that the money is held.
            Step::Confirm if self.published(EventType::PaymentAuthorized) == 1 => {
                self.take_input(Input::Confirmed);
            }
            Step::Confirm => {}
            Step::Withdraw if self.outstanding == [Action::Authorize] => {
                self.outstanding.clear();
                self.take_input(Input::Withdrawn);
            }
            Step::Cancel | Step::Withdraw => self.take_input(Input::Cancelled),
            Step::Answer(well) => {
                if let Some(action) = self.outstanding.pop() {
                    self.take_input(Input::Answered(answer(action, *well, self.payment.moved)));
                }
            }
            Step::Repeat(index) => {
                if let Some(input) = self.taken.get(index % self.taken.len().max(1)).cloned() {
                    let before = self.payment.clone();
                    self.take_input(input);
                    assert_eq!(self.payment, before, "a repeat changes nothing");
                }
            }
        }
    }

    fn take_input(&mut self, input: Input) {
        let Transition { next, events, jobs, postings } =
            react(&self.payment, &input).expect("what happens in the world is valid");
        if next.version == self.payment.version {
            assert_eq!(next, self.payment);
            assert_eq!((&events, &jobs, &postings), (&vec![], &vec![], &vec![]));
        } else {
            assert_eq!(next.version, self.payment.version + 1);
        }
        self.payment = next;
        // When it comes again there is nothing to withdraw any more.
        self.taken.push(if input == Input::Withdrawn { Input::Cancelled } else { input });
        self.published.extend(events.iter().map(Event::event_type));
        self.calls.extend(&jobs);
        self.outstanding.extend(&jobs);
        for posting in postings {
            assert!(!self.postings.contains(&(posting.kind, posting.number)), "a posting is made once");
            self.postings.push((posting.kind, posting.number));
            for entry in posting.entries() {
                *self.balances.entry(entry.account).or_default() += entry.amount.amount_minor;
            }
        }
        self.check();
    }

    fn check(&self) {
        for action in [Action::Authorize, Action::Capture, Action::Void] {
            assert!(self.called(action) <= 1, "{action} is called at most once");
        }
        assert!(self.called(Action::Refund) <= 3, "and refunds are called for as long as something is left");
        assert!(self.called(Action::Capture) == 0 || self.taken.contains(&Input::Confirmed));
        assert!(self.called(Action::Refund) == 0 || self.postings.contains(&(PostingKind::Captured, 1)));
        assert!(self.compensations() <= 1, "one compensation at most: {:?}", self.published);
        assert_eq!(
            self.outstanding,
            Vec::from_iter(self.payment.status.awaits()),
            "a state that awaits an answer has one call outstanding"
        );
        assert_eq!(self.balances.values().sum::<i64>(), 0);
        assert!(self.balance(Account::AuthorizedHolds) >= 0);
        assert!(self.balance(Account::CapturedFunds) >= -self.balance(Account::Refunds));
    }

    /// Lets everything that must come, come: the order itself, and the end of every call.
    fn drain(&mut self, well: bool) {
        self.take(&Step::Place);
        while !self.outstanding.is_empty() {
            self.take(&Step::Answer(well));
        }
    }

    fn published(&self, event: EventType) -> usize {
        self.published.iter().filter(|published| **published == event).count()
    }

    fn called(&self, action: Action) -> usize {
        self.calls.iter().filter(|called| **called == action).count()
    }

    /// A refund in parts is one.
    fn compensations(&self) -> usize {
        let refunded = usize::from(self.payment.status == Status::Refunded);
        self.published(EventType::PaymentDeclined) + self.published(EventType::PaymentVoided) + refunded
    }

    fn balance(&self, account: Account) -> i64 {
        self.balances.get(&account).copied().unwrap_or_default()
    }
}

/// What is given back of a payment at a time, where it is given back in parts.
const PART: i64 = 1000;

fn terms() -> Terms {
    let amount = Money { amount_minor: 2500, currency: "EUR".parse().expect("EUR is a currency") };
    Terms { amount, method: "pm_card_visa".parse().expect("a payment method") }
}

fn answer(action: Action, well: bool, moved: Moved) -> Answer {
    match action {
        Action::Authorize if well => Answer::Approved { authorization_id: "auth-1".to_owned() },
        Action::Authorize => Answer::Declined { reason: "card_declined".to_owned() },
        Action::Capture if well => Answer::Captured { amount: terms().amount },
        Action::Capture => Answer::CaptureFailed { reason: "capture_failed".to_owned() },
        Action::Void if well => Answer::Voided,
        // The void is refused, since the processor has taken the money.
        Action::Void => Answer::Captured { amount: terms().amount },
        Action::Refund => {
            let left = moved.to_refund();
            // A part of it was given back at the processor's dashboard.
            let amount_minor = if well { left } else { left.min(PART) };
            Answer::Refunded { amount: Money { amount_minor, ..terms().amount }, number: moved.refunds + 1 }
        }
    }
}

proptest! {
    #[test]
    fn cancelled_order_gets_one_compensation_reply_and_its_money_back(steps in steps(), well: bool) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.take(&Step::Cancel);
        world.drain(well);

        assert_eq!(world.compensations(), 1, "{:?}", world.published);
        assert!(matches!(world.payment.status, Status::Declined | Status::Voided | Status::Refunded));
        assert_eq!(world.balance(Account::Customer), 0);
        assert_eq!(world.balance(Account::AuthorizedHolds), 0);
        assert_eq!(world.balance(Account::CapturedFunds), -world.balance(Account::Refunds));
        let Moved { captured_minor, refunded_minor, refunds } = world.payment.moved;
        assert_eq!((captured_minor, refunded_minor), (world.balance(Account::CapturedFunds), captured_minor));
        assert_eq!(usize::try_from(refunds), Ok(world.published(EventType::PaymentRefunded)));
    }

    #[test]
    fn uncancelled_payment_ends_where_the_order_left_it(steps in steps(), well: bool) {
        let mut world = World::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::Cancel | Step::Withdraw)) {
            world.take(step);
        }
        world.drain(well);
        world.take(&Step::Confirm);
        world.drain(well);

        let ends = [Status::Declined, Status::Captured, Status::CaptureFailed];
        assert!(ends.contains(&world.payment.status), "{}", world.payment.status);
        let taken = if world.payment.status == Status::Captured { terms().amount.amount_minor } else { 0 };
        assert_eq!(world.balance(Account::CapturedFunds), taken);
        assert_eq!(world.called(Action::Void) + world.called(Action::Refund), 0);
    }
}

#[test]
fn invalid_transition_names_payment_order_state_and_input() {
    let payment = Payment::placeholder(OrderId(Uuid::from_u128(1)));
    let invalid = react(&payment, &Input::Confirmed).expect_err("nothing was placed");
    assert_eq!(
        invalid.to_string(),
        "payment c14c3469-f156-5225-83a0-ef96ba61d6b2 of order 00000000-0000-0000-0000-000000000001 is placeholder \
         and cannot take order.confirmed"
    );
}

#[test]
fn statuses_parse_back() {
    for status in Status::VARIANTS {
        assert_eq!(status.into_str().parse(), Ok(*status));
    }
    assert!("paid".parse::<Status>().is_err());
}
