//! Whatever comes, in whatever order and however often: no money is taken without a confirmed order, none is
//! taken or given back twice, and a cancelled order gets exactly one closing answer.

use std::collections::HashMap;

use contracts::{Event, EventType, Money, OrderId};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
};
use uuid::Uuid;

use crate::domain::{Action, Answer, Input, Payment, Status, Terms, react};
use crate::ledger::{Account, Posting};

/// What may happen next. What cannot happen yet in the world at hand is skipped.
#[derive(Debug, Clone)]
enum Step {
    Place,
    Confirm,
    Cancel,
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
        any::<bool>().prop_map(Step::Answer),
        any::<usize>().prop_map(Step::Repeat),
    ];
    vec(step, 0..24)
}

/// The payment, the order service and the processor around it.
struct World {
    payment: Payment,
    heard: Vec<Input>,
    announced: Vec<EventType>,
    calls: Vec<Action>,
    outstanding: Vec<Action>,
    postings: Vec<Posting>,
    balances: HashMap<Account, i64>,
}

impl World {
    fn new() -> Self {
        Self {
            payment: Payment::placeholder(OrderId(Uuid::from_u128(1)), Uuid::from_u128(2)),
            heard: Vec::new(),
            announced: Vec::new(),
            calls: Vec::new(),
            outstanding: Vec::new(),
            postings: Vec::new(),
            balances: HashMap::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Place => self.hear(Input::Placed(terms())),
            // The order is confirmed only once it heard that the money is held.
            Step::Confirm if self.announced(EventType::PaymentAuthorized) == 1 => self.hear(Input::Confirmed),
            Step::Confirm => {}
            Step::Cancel => self.hear(Input::Cancelled),
            Step::Answer(well) => {
                if let Some(action) = self.outstanding.pop() {
                    self.hear(Input::Answered(answer(action, *well)));
                }
            }
            Step::Repeat(index) => {
                if let Some(input) = self.heard.get(index % self.heard.len().max(1)).cloned() {
                    let before = self.payment.clone();
                    self.hear(input);
                    assert_eq!(self.payment, before, "a repeat of a fact changes nothing");
                }
            }
        }
    }

    fn hear(&mut self, input: Input) {
        let reaction = react(&self.payment, &input).expect("what happens in the world is possible");
        if reaction.payment.version == self.payment.version {
            assert_eq!(reaction.payment, self.payment);
            assert_eq!((&reaction.announce, reaction.call, &reaction.posting), (&None, None, &None));
        } else {
            assert_eq!(reaction.payment.version, self.payment.version + 1);
        }
        self.payment = reaction.payment;
        self.heard.push(input);
        self.announced.extend(reaction.announce.iter().map(Event::event_type));
        self.calls.extend(reaction.call);
        self.outstanding.extend(reaction.call);
        if let Some((posting, amount)) = reaction.posting {
            self.postings.push(posting);
            for entry in posting.entries(&amount) {
                *self.balances.entry(entry.account).or_default() += entry.amount.amount_minor;
            }
        }
        self.check();
    }

    fn check(&self) {
        for action in [Action::Authorize, Action::Capture, Action::Void, Action::Refund] {
            assert!(self.called(action) <= 1, "{action} is called at most once");
        }
        assert!(self.called(Action::Capture) == 0 || self.heard.contains(&Input::Confirmed));
        assert!(self.called(Action::Refund) == 0 || self.postings.contains(&Posting::Captured));
        assert!(self.closings() <= 1, "one closing answer at most: {:?}", self.announced);
        assert_eq!(
            self.outstanding,
            Vec::from_iter(self.payment.status.awaits()),
            "who waits for an answer has exactly one call outstanding"
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

    fn announced(&self, event: EventType) -> usize {
        self.announced.iter().filter(|announced| **announced == event).count()
    }

    fn called(&self, action: Action) -> usize {
        self.calls.iter().filter(|called| **called == action).count()
    }

    fn closings(&self) -> usize {
        let closings = [EventType::PaymentDeclined, EventType::PaymentVoided, EventType::PaymentRefunded];
        closings.into_iter().map(|event| self.announced(event)).sum()
    }

    fn balance(&self, account: Account) -> i64 {
        self.balances.get(&account).copied().unwrap_or_default()
    }
}

fn terms() -> Terms {
    let amount = Money { amount_minor: 2500, currency: "EUR".parse().expect("EUR is a currency") };
    Terms { amount, method: "pm_card_visa".parse().expect("a payment method") }
}

fn answer(action: Action, well: bool) -> Answer {
    match action {
        Action::Authorize if well => Answer::Approved { authorization_id: "auth-1".to_owned() },
        Action::Authorize => Answer::Declined { reason: "card_declined".to_owned() },
        Action::Capture if well => Answer::Captured,
        Action::Capture => Answer::CaptureFailed { reason: "capture_failed".to_owned() },
        // A void or refund that is refused is asked again until it is done.
        Action::Void => Answer::Voided,
        Action::Refund => Answer::Refunded,
    }
}

proptest! {
    #[test]
    fn a_cancelled_order_gets_exactly_one_closing_answer_and_its_money_back(steps in steps(), well: bool) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.take(&Step::Cancel);
        world.drain(well);

        assert_eq!(world.closings(), 1, "{:?}", world.announced);
        assert!(matches!(world.payment.status, Status::Declined | Status::Voided | Status::Refunded));
        assert_eq!(world.balance(Account::Customer), 0);
        assert_eq!(world.balance(Account::AuthorizedHolds), 0);
        assert_eq!(world.balance(Account::CapturedFunds), -world.balance(Account::Refunds));
    }

    #[test]
    fn a_payment_that_is_not_cancelled_ends_where_the_order_left_it(steps in steps(), well: bool) {
        let mut world = World::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::Cancel)) {
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
fn an_impossible_input_names_payment_order_state_and_input() {
    let payment = Payment::placeholder(OrderId(Uuid::from_u128(1)), Uuid::from_u128(2));
    let impossible = react(&payment, &Input::Confirmed).expect_err("nothing was placed");
    assert_eq!(
        impossible.to_string(),
        "payment 00000000-0000-0000-0000-000000000002 of order 00000000-0000-0000-0000-000000000001 is blank and \
         cannot hear \"order.confirmed\""
    );
}

#[test]
fn statuses_parse_back() {
    for status in Status::ALL {
        assert_eq!(status.as_str().parse(), Ok(*status));
    }
    assert!("paid".parse::<Status>().is_err());
}
