//! All that there is of one order: the row that each service has of it, what was sent, and what the processor did.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta};
use contracts::{
    Customer, Envelope, Event, EventType, Money, OrderId, OrderLine, OrderPlaced, Quantity, Sku, TraceContext,
};
use inventory::domain::{Level, Reservation, Status as Held, Stock};
use messaging::{CausationContext, Delivery, OutgoingEvent, Reaction};
use order::domain::{Deadlines, Moment, Order, Transition, decide_cancel};
use order::state::Status;
use payment::domain::{Action, Answer, Input, Payment, Status as Paid};
use payment::processor::Request;
use payment::reactions::OrderInput;
use system::Service;
use uuid::Uuid;

use super::PARTICIPANTS;
use super::kept::Kept;
use super::step::Step;

use crate::system::{Publishing, System};
use crate::world::End;

/// More than happens to any order that comes to rest.
const MOST_PROGRESS: i64 = 100;

/// One order, everywhere. Both orders have the same id: they share nothing but the shelf, and so can trade places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Saga {
    pub(super) order: Order,
    reservation: Reservation,
    payment: Payment,
    /// What was published, with its aggregate version, and the services that have consumed it.
    sent: BTreeMap<EventType, (Event, i64, BTreeSet<Service>)>,
    /// What the processor was asked to do, by the key that it remembers its answer by.
    calls: BTreeMap<Action, Call>,
    /// What the processor's authorization really is, once there is one.
    hold: Option<Hold>,
}

/// What an authorization has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Hold {
    Held,
    Captured,
    /// Voided or expired.
    Ended,
    Refunded,
}

/// How far a call to the processor is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Call {
    /// It is a job, and the processor has not taken it.
    Open,
    /// The processor has done it.
    Answered(Answer),
    /// The payment service has recorded the answer.
    Recorded(Answer),
}

/// An event that was published, with its aggregate version.
type Published = (Event, i64);

/// What cannot be.
pub(super) type Broken = &'static str;

fn published(events: Vec<OutgoingEvent>) -> Vec<Published> {
    events.into_iter().map(|outgoing| (outgoing.event, outgoing.aggregate_version)).collect()
}

fn delivery(event: Event, aggregate_version: i64) -> Delivery {
    let (id, time, trace) = (Uuid::nil(), DateTime::UNIX_EPOCH, TraceContext::default());
    Delivery::new(Envelope { id, time, causation_id: None, aggregate_version, trace, event }, "model")
}

pub(super) fn sku() -> Sku {
    "MUG".parse().expect("a SKU")
}

impl Saga {
    /// An order that was just placed, for one piece.
    pub(super) fn placed() -> Self {
        let order_id = OrderId(Uuid::from_u128(1));
        let price = Money { amount_minor: 100, currency: "EUR".parse().expect("a currency") };
        let quantity = Quantity::try_from(1).expect("a quantity");
        let line = OrderLine { sku: sku(), quantity, unit_price: price.clone() };
        let customer = Customer {
            id: "ada".parse().expect("an id"),
            email: "ada@example.com".parse().expect("an address"),
        };
        let placed = OrderPlaced {
            order_id,
            customer,
            lines: vec![line],
            total: price,
            payment_method: "pm_card_visa".parse().expect("a payment method"),
        };
        let now = DateTime::UNIX_EPOCH;
        let (decision, capture) = (now + TimeDelta::seconds(30), now + TimeDelta::hours(24));
        let deadlines = Deadlines { decision, latest_decision: decision, capture };
        Self {
            order: Order::placed(placed.clone(), now, deadlines),
            reservation: Reservation::placeholder(order_id),
            payment: Payment::placeholder(order_id),
            sent: [(EventType::OrderPlaced, (placed.into(), 1, BTreeSet::new()))].into(),
            calls: BTreeMap::new(),
            hold: None,
        }
    }

    /// All that may happen now, whether it changes anything or not.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Cancel, Step::Expire];
        steps.extend(self.deliveries().map(|(consumer, event_type)| Step::Consume(consumer, event_type)));
        for (action, call) in &self.calls {
            let may_fail = matches!(action, Action::Authorize | Action::Capture);
            match call {
                Call::Open => {
                    steps.push(Step::Call(*action, true));
                    steps.extend(may_fail.then_some(Step::Call(*action, false)));
                }
                Call::Answered(_) | Call::Recorded(_) => steps.push(Step::Record(*action)),
            }
        }
        if self.hold == Some(Hold::Held) {
            steps.extend([Step::EndHold, Step::CaptureByHand]);
        }
        steps
    }

    /// What a step makes of it, and of the shelf. A crash after the commit loses what is not in an outbox.
    pub(super) fn after(
        &self,
        system: &System,
        shelf: Level,
        (step, end): (Step, End),
    ) -> Result<(Kept, Level), Broken> {
        let mut saga = self.clone();
        let mut stock = Stock([(sku(), shelf)].into());
        let published = match step {
            Step::Cancel => saga.cancel(),
            Step::Expire => saga.expire(system),
            Step::Consume(consumer, event_type) => saga.consume(system, &mut stock, consumer, event_type)?,
            Step::EndHold => saga.outside(|saga| saga.hold.replace(Hold::Ended)),
            Step::CaptureByHand => saga.outside(|saga| saga.hold.replace(Hold::Captured)),
            Step::Call(action, succeeds) => saga.outside(|saga| saga.call(action, succeeds)),
            Step::Record(action) => saga.record(system, action)?,
        };
        if end == End::Commit || system.publishing == Publishing::Outbox {
            published.into_iter().try_for_each(|event| saga.send(event))?;
        }
        if saga != *self && saga.progress() <= self.progress() {
            return Err("a change with no progress, which may go in circles");
        }
        if saga.progress() > MOST_PROGRESS {
            return Err("a change too many: it goes on without end");
        }
        Ok((Kept::new(saga), stock.0[&sku()]))
    }

    /// Every message that was sent to a service, consumed before or not.
    fn deliveries(&self) -> impl Iterator<Item = (Service, EventType)> {
        let to = |event_type: &EventType| {
            let event_type = *event_type;
            let consumers = PARTICIPANTS
                .into_iter()
                .filter(move |consumer| consumer.subscriptions().contains(&event_type));
            consumers.map(move |consumer| (consumer, event_type))
        };
        self.sent.keys().flat_map(to)
    }

    /// What the processor has done.
    pub(super) fn answer(&self, action: Action) -> Option<&Answer> {
        match self.calls.get(&action)? {
            Call::Open => None,
            Call::Answered(answer) | Call::Recorded(answer) => Some(answer),
        }
    }

    fn cancel(&mut self) -> Vec<Published> {
        decide_cancel(&self.order).map_or_else(|_| Vec::new(), |transition| self.become_by(transition))
    }

    fn expire(&mut self, system: &System) -> Vec<Published> {
        let moment = Moment::without_outage(self.order.deadlines.capture);
        let transition = (system.timeout)(&self.order, &moment);
        self.become_by(transition)
    }

    /// A service consumes a message, for the first time or again.
    fn consume(
        &mut self,
        system: &System,
        stock: &mut Stock,
        consumer: Service,
        event_type: EventType,
    ) -> Result<Vec<Published>, Broken> {
        let Some((event, version, consumed_by)) = self.sent.get_mut(&event_type) else {
            return Ok(Vec::new());
        };
        consumed_by.insert(consumer);
        let delivery = delivery(event.clone(), *version);
        let order_id = self.order.id;
        match consumer {
            Service::Order => {
                let orders = [(order_id, self.order.clone())].into();
                let moment = Moment::without_outage(self.order.placed_at);
                let state = order::reactions::State { orders, moment };
                let outcome = order::reactions::fold_with(system.order, state, &[delivery])
                    .map_err(|_| "invalid for the order")?;
                self.order = outcome.changed.orders.into_iter().next().unwrap_or(self.order.clone());
                Ok(published(outcome.events))
            }
            Service::Inventory => {
                let reservations = [(order_id, self.reservation.clone())].into();
                let state = inventory::reactions::State { reservations, stock: stock.clone() };
                let outcome = inventory::reactions::fold_with(system.inventory, state, &[delivery])
                    .map_err(|_| "invalid for inventory")?;
                let changed = outcome.changed.reservations.into_iter().next();
                self.reservation = changed.unwrap_or(self.reservation.clone());
                *stock = outcome.changed.stock;
                Ok(published(outcome.events))
            }
            _ => payment::reactions::Reactions::input(&delivery)
                .map_or(Ok(Vec::new()), |input| self.pay(system, input)),
        }
    }

    /// Something happens outside the services: nothing is published.
    fn outside<T>(&mut self, happens: impl FnOnce(&mut Self) -> T) -> Vec<Published> {
        happens(self);
        Vec::new()
    }

    /// The processor takes a call, and remembers its answer by the key. What it refuses is answered by what the
    /// authorization is.
    fn call(&mut self, action: Action, succeeds: bool) {
        let amount = self.order.total.clone();
        let reason = || "card_declined".to_owned();
        let (hold, answer) = match (action, self.hold) {
            (Action::Authorize, _) if succeeds => {
                (Some(Hold::Held), Answer::Approved { authorization_id: "a".to_owned() })
            }
            (Action::Authorize, hold) => (hold, Answer::Declined { reason: reason() }),
            (Action::Capture, Some(Hold::Held)) if succeeds => {
                (Some(Hold::Captured), Answer::Captured { amount })
            }
            (Action::Capture | Action::Void, Some(Hold::Captured)) => {
                (Some(Hold::Captured), Answer::Captured { amount })
            }
            (Action::Capture, hold) => (hold, Answer::CaptureFailed { reason: reason() }),
            (Action::Void, _) => (Some(Hold::Ended), Answer::Voided),
            (Action::Refund, _) => (Some(Hold::Refunded), Answer::Refunded { amount, number: 1 }),
        };
        self.hold = hold;
        self.calls.insert(action, Call::Answered(answer));
    }

    /// The order whose call to authorize a cancel withdraws: nobody has made it.
    fn withdrawn(&mut self, input: &OrderInput) -> BTreeSet<OrderId> {
        let is_open = self.calls.get(&Action::Authorize) == Some(&Call::Open);
        let withdraws =
            input.input == Input::Cancelled && self.payment.status == Paid::Authorizing && is_open;
        if withdraws {
            self.calls.remove(&Action::Authorize);
        }
        withdraws.then_some(self.order.id).into_iter().collect()
    }

    /// The payment service records an answer, for the first time or again.
    fn record(&mut self, system: &System, action: Action) -> Result<Vec<Published>, Broken> {
        let Some(answer) = self.answer(action).cloned() else { return Ok(Vec::new()) };
        self.calls.insert(action, Call::Recorded(answer.clone()));
        let (order_id, input) = (self.order.id, Input::Answered(answer));
        self.pay(system, OrderInput { order_id, input, context: CausationContext::default() })
    }

    fn pay(&mut self, system: &System, input: OrderInput) -> Result<Vec<Published>, Broken> {
        let state = payment::reactions::State {
            payments: [(self.order.id, self.payment.clone())].into(),
            withdrawn: self.withdrawn(&input),
        };
        let outcome = payment::reactions::fold_with(system.payment, state, &[input])
            .map_err(|_| "invalid for the payment")?;
        self.payment = outcome.changed.payments.into_iter().next().unwrap_or(self.payment.clone());
        for job in outcome.jobs {
            let request: Request = serde_json::from_value(job.payload).expect("a call to the processor");
            self.calls.entry(request.action()).or_insert(Call::Open);
        }
        Ok(published(outcome.events))
    }

    fn become_by(&mut self, transition: Transition) -> Vec<Published> {
        let first = transition.next.version - transition.events.len() as i64 + 1;
        self.order = transition.next;
        transition.events.into_iter().zip(first..).collect()
    }

    fn send(&mut self, (event, version): Published) -> Result<(), Broken> {
        match self.sent.insert(event.event_type(), (event, version, BTreeSet::new())) {
            Some(_) => Err("an event published twice"),
            None => Ok(()),
        }
    }

    /// How much has happened: it never falls, so that every run has an end.
    fn progress(&self) -> i64 {
        let consumed = self.sent.values().map(|(_, _, consumed_by)| 1 + consumed_by.len() as i64);
        let calls = self.calls.values().map(|call| match call {
            Call::Open => 1,
            Call::Answered(_) => 2,
            Call::Recorded(_) => 3,
        });
        let hold = match self.hold {
            None => 0,
            Some(Hold::Held) => 1,
            Some(Hold::Captured | Hold::Ended) => 2,
            Some(Hold::Refunded) => 3,
        };
        let versions = self.order.version + self.reservation.version + self.payment.version;
        versions + hold + consumed.chain(calls).sum::<i64>()
    }

    /// Whether each message was consumed by everybody, and the answer to each call recorded: nothing more has to happen.
    pub(super) fn is_at_rest(&self) -> bool {
        let consumed =
            |(consumer, event_type): (Service, EventType)| self.sent[&event_type].2.contains(&consumer);
        self.deliveries().all(consumed) && self.calls.values().all(|call| matches!(call, Call::Recorded(_)))
    }

    /// Completed with its stock and money, or cancelled and settled with neither.
    pub(super) fn is_over(&self) -> bool {
        let completed = (self.order.status, self.reservation.status, self.payment.status)
            == (Status::Completed, Held::Committed, Paid::Captured);
        let nothing_held = matches!(self.reservation.status, Held::Rejected | Held::Released);
        let nothing_paid = matches!(self.payment.status, Paid::Declined | Paid::Voided | Paid::Refunded);
        let completed = completed && self.hold == Some(Hold::Captured);
        completed || (self.order.settled() && nothing_held && nothing_paid && self.money_is_back())
    }

    /// What the processor held it let go, and what it took it gave back.
    fn money_is_back(&self) -> bool {
        matches!(self.hold, None | Some(Hold::Ended | Hold::Refunded))
    }

    pub(super) fn captured(&self) -> bool {
        matches!(self.answer(Action::Capture), Some(Answer::Captured { .. }))
    }

    pub(super) fn was_confirmed(&self) -> bool {
        self.sent.contains_key(&EventType::OrderConfirmed)
    }

    pub(super) fn stock_is(&self, status: Held) -> bool {
        self.reservation.status == status
    }
}
