//! One run: five services, a broker, a clock and the outside world, and one choice after the other.
//!
//! There is one thread and no waiting. What could happen next is a list of [moves](Move); chance picks one, and
//! whether something goes wrong with it. After a while chance is taken away: what is left runs its plain course, until
//! nothing is left to do, and then everything must add up.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use chrono::{DateTime, Utc};
use contracts::{Envelope, Event, OrderId, TraceContext};
use messaging::{Effects, OutgoingEvent};
use system::Service;
use uuid::Uuid;

use crate::broker::Broker;
use crate::choices::Choices;
use crate::invariants::{self, Checked, Violation};
use crate::outage::Connections;
use crate::outside::Outside;
use crate::plan::{Act, number, plan};
use crate::services::{Analytics, Tables};
use crate::system::{Publishing, System};
use crate::trace::Trace;
use crate::work::Work;

/// The most moves until chance is taken away.
const MOST_MOVES: usize = 300;
/// More than any run needs to come to rest.
const MOST_CALM_MOVES: usize = 5_000;
/// Long enough for every deadline to pass, and for the processor to forget its keys.
const A_DAY: i64 = 24 * 60 * 60;
/// How often something goes wrong, in percent: one of these a run, so that some runs are quiet and some are wild.
const MISHAPS: [usize; 4] = [0, 5, 20, 50];

/// Everything there is.
pub(crate) struct World {
    pub(crate) system: System,
    pub(crate) choices: Choices,
    pub(crate) trace: Trace,
    pub(crate) now: DateTime<Utc>,
    pub(crate) tables: Tables,
    pub(crate) analytics: Analytics,
    pub(crate) broker: Broker,
    pub(crate) outside: Outside,
    pub(crate) work: Work,
    pub(crate) connections: Connections,
    pub(crate) outboxes: [VecDeque<Rc<Envelope>>; Service::ALL.len()],
    inboxes: [HashSet<Uuid>; Service::ALL.len()],
    acts: Vec<Act>,
    mishaps: usize,
    ids: u128,
}

/// What can happen next; where there are several of a kind, chance picks one.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// The order service has its connections to the broker again.
    Restore,
    /// A service records how a call to the outside ended.
    Record,
    /// A relay publishes the first event of its outbox.
    Publish(Service),
    /// A service consumes an event.
    Consume(Service),
    /// Analytics reads the log on.
    Read,
    /// A worker takes a job and calls the outside.
    Call,
    /// The mail server takes a mail that was handed over, or does not.
    Deliver,
    /// An operator finds out what became of a parked job.
    Resolve,
    /// The order service looks at its deadlines.
    Expire,
    /// A person does something.
    Act,
    /// Time passes.
    Tick,
    /// The order service loses connections to the broker.
    Break,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It commits.
    Commit,
    /// The service crashes before the commit: nothing has happened.
    CrashBefore,
    /// The service crashes right after the commit: the caller gets no answer.
    CrashAfter,
}

/// Makes a run, and checks that everything adds up at its end. Gives back the world as it was left.
pub(crate) fn run(system: System, choices: Choices, trace: Trace) -> (World, Checked<()>) {
    let mut world = World::new(system, choices, trace);
    let checked = world.live().and_then(|()| invariants::at_rest(&world));
    (world, checked)
}

impl World {
    fn new(system: System, mut choices: Choices, trace: Trace) -> Self {
        let mishaps = choices.of(&MISHAPS);
        let connections = Connections::new(&mut choices);
        let acts = plan(&mut choices);
        Self {
            system,
            choices,
            trace,
            now: DateTime::UNIX_EPOCH,
            tables: Tables::default(),
            analytics: Analytics::default(),
            broker: Broker::default(),
            outside: Outside::default(),
            work: Work::default(),
            connections,
            outboxes: Default::default(),
            inboxes: Default::default(),
            acts,
            mishaps,
            ids: 1_000,
        }
    }

    fn live(&mut self) -> Checked<()> {
        for _ in 0..self.choices.below(MOST_MOVES) {
            if !self.step()? {
                break;
            }
        }
        self.choices.calm_down();
        for _ in 0..MOST_CALM_MOVES {
            if !self.step()? {
                return Ok(());
            }
        }
        Err(Violation::new("a run comes to rest", "there is always something left to do".to_owned()))
    }

    /// Something happens; false when there is nothing left but to wait.
    fn step(&mut self) -> Checked<bool> {
        let moves = self.moves();
        if moves.is_empty() {
            return Ok(false);
        }
        match self.choices.of(&moves) {
            Move::Restore => self.restore_connections(),
            Move::Record => self.record()?,
            Move::Publish(service) => self.publish(service),
            Move::Consume(service) => self.consume(service)?,
            Move::Read => self.read(),
            Move::Call => self.call()?,
            Move::Deliver => self.deliver()?,
            Move::Resolve => self.resolve(),
            Move::Expire => self.expire()?,
            Move::Act => self.act()?,
            Move::Tick => self.tick(),
            Move::Break => self.break_connections(),
        }
        invariants::at_any_time(self)?;
        Ok(true)
    }

    /// In an order that brings to an end what has begun before anything new begins.
    fn moves(&self) -> Vec<Move> {
        let (may_publish, may_consume) = (self.connections.may_publish(), self.connections.may_consume());
        let publishing = Service::with_queue().filter(|service| {
            !self.outboxes[*service as usize].is_empty() && (may_publish || *service != Service::Order)
        });
        let consuming = Service::with_queue().filter(|service| {
            self.broker.waiting(*service) > 0 && (may_consume || *service != Service::Order)
        });
        let orders = &self.tables.orders;
        let single = |possible: bool, one: Move| possible.then_some(one);
        let mut moves = Vec::with_capacity(16);
        moves.extend(single(self.connections.are_broken(), Move::Restore));
        moves.extend(single(self.work.any_ended(), Move::Record));
        moves.extend(publishing.map(Move::Publish));
        moves.extend(consuming.map(Move::Consume));
        moves.extend(single(self.analytics.offset < self.broker.log().len(), Move::Read));
        moves.extend(single(self.work.any_jobs(), Move::Call));
        moves.extend(single(self.work.any_handed_over(), Move::Deliver));
        moves.extend(single(self.work.any_parked(), Move::Resolve));
        moves.extend(single(orders.any_expired(self.now), Move::Expire));
        moves.extend(single(!self.acts.is_empty(), Move::Act));
        if !self.choices.is_calm() && !moves.is_empty() {
            moves.extend(single(orders.any_open(), Move::Tick));
            moves.extend(single(self.connections.may_break(), Move::Break));
        }
        moves
    }

    /// What goes wrong now, if anything does.
    pub(crate) fn mishap<T: Copy>(&mut self, plain: T, mishaps: &[T]) -> T {
        if self.choices.chance(self.mishaps) { self.choices.of(mishaps) } else { plain }
    }

    /// An id that was never used before.
    pub(crate) fn fresh_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// A transaction of a service: it changes the tables, and what follows is committed with them.
    pub(crate) fn transact(
        &mut self,
        service: Service,
        end: End,
        change: impl FnOnce(&mut Tables) -> Checked<Effects>,
    ) -> Checked<()> {
        let before = (end == End::CrashBefore).then(|| self.tables.clone());
        let effects = change(&mut self.tables)?;
        if service == Service::Order {
            let events: Vec<Event> = effects.events.iter().map(|outgoing| outgoing.event.clone()).collect();
            self.participants_had_their_time(&events)?;
        }
        let messages: Vec<_> = effects.events.into_iter().map(|event| self.envelope(event)).collect();
        if self.system.publishing == Publishing::BeforeCommit {
            messages.iter().for_each(|message| self.broker.publish(message));
        }
        if let Some(before) = before {
            self.tables = before;
            return Ok(());
        }
        self.work.add(service, effects.jobs, self.now);
        messages
            .iter()
            .for_each(|message| self.trace.note(|| format!("    {service} publishes {}", name(message))));
        match self.system.publishing {
            Publishing::Outbox => self.outboxes[service as usize].extend(messages),
            Publishing::AfterCommit if end == End::Commit => {
                messages.iter().for_each(|message| self.broker.publish(message));
            }
            Publishing::BeforeCommit | Publishing::AfterCommit => {}
        }
        Ok(())
    }

    fn envelope(
        &mut self,
        OutgoingEvent { event, aggregate_version, origin }: OutgoingEvent,
    ) -> Rc<Envelope> {
        let (id, time, trace) = (self.fresh_id(), self.now, TraceContext::default());
        Rc::new(Envelope { id, time, causation_id: origin.cause, aggregate_version, trace, event })
    }

    /// The relay publishes, and deletes; when it dies between the two, its successor publishes again.
    fn publish(&mut self, service: Service) {
        let crashes = self.mishap(false, &[true]);
        let outbox = &mut self.outboxes[service as usize];
        let Some(message) = outbox.pop_front() else { return };
        if crashes {
            outbox.push_front(message.clone());
        }
        self.broker.publish(&message);
        self.connections.leaves(&message, self.now);
        self.trace.note(|| {
            let then = if crashes { ", and crashes before it deletes it" } else { "" };
            format!("{service}'s relay publishes {}{then}", name(&message))
        });
    }

    /// A service consumes any of the messages that wait. What is not acknowledged comes again.
    fn consume(&mut self, consumer: Service) -> Checked<()> {
        let index = self.choices.below(self.broker.waiting(consumer));
        let message = self.broker.take(consumer, index);
        let end = self.mishap(End::Commit, &[End::CrashAfter, End::CrashBefore]);
        let fresh = self.inboxes[consumer as usize].insert(message.id);
        self.trace.note(|| format!("{consumer} consumes {}{}", name(&message), told(end)));
        if fresh || !self.system.repeats_are_kept_away {
            let (system, now) = (self.system, self.now);
            let withdrawn = self.withdrawn_by(consumer, &message);
            let change = |tables: &mut Tables| tables.consume(&system, consumer, &message, now, withdrawn);
            self.transact(consumer, end, change)?;
            if end != End::CrashBefore {
                self.work.withdraw(withdrawn);
            }
        } else {
            self.trace.note(|| "    its inbox knows it".to_owned());
        }
        if end == End::CrashBefore && fresh {
            self.inboxes[consumer as usize].remove(&message.id);
        }
        if end != End::Commit {
            self.broker.requeue(consumer, message);
        }
        Ok(())
    }

    /// The order whose call to authorize a cancel withdraws, when it was never made.
    fn withdrawn_by(&self, consumer: Service, message: &Envelope) -> Option<OrderId> {
        let Event::OrderCancelled(cancelled) = &message.event else { return None };
        let order_id = cancelled.order_id;
        let withdrawn = consumer == Service::Payment
            && self.tables.payments.is_authorizing(order_id)
            && self.work.may_withdraw(order_id, self.system.may_withdraw);
        withdrawn.then_some(order_id)
    }

    fn read(&mut self) {
        let batch = 1 + self.choices.below(3);
        self.analytics.read(self.broker.log(), batch, self.system.analytics_has_an_inbox);
        self.trace.note(|| format!("analytics reads up to {batch} messages of the event stream"));
    }

    fn expire(&mut self) -> Checked<()> {
        let (system, now, flows) = (self.system, self.now, self.flows());
        let end = self.mishap(End::Commit, &[End::CrashAfter, End::CrashBefore]);
        self.trace.note(|| format!("the order service looks at its deadlines{}", told(end)));
        self.transact(Service::Order, end, |tables| Ok(tables.orders.expire(&system, now, flows)))
    }

    fn act(&mut self) -> Checked<()> {
        let act = self.acts.remove(self.choices.below(self.acts.len()));
        let end = self.mishap(End::Commit, &[End::CrashAfter, End::CrashBefore]);
        self.trace.note(|| format!("{act}{}", told(end)));
        let (now, mut refused) = (self.now, false);
        self.transact(act.service(), end, |tables| {
            let effects = tables.carry_out(&act, now);
            refused = effects.is_none();
            Ok(effects.unwrap_or_default())
        })?;
        if refused {
            self.trace.note(|| "    refused".to_owned());
        }
        // Who gets no answer asks again. After the commit the idempotency key then gives the first answer, and nothing
        // more comes of it.
        let again = if refused {
            self.tables.orders.may_come_true(&act) && self.may_still_change(&act)
        } else {
            end == End::CrashBefore
        };
        self.acts.extend(again.then_some(act));
        Ok(())
    }

    /// Whether anything is left that can turn the refusal of an act into a success. If not, such as when a product stays
    /// delisted, customers give up.
    fn may_still_change(&self, refused: &Act) -> bool {
        let more_than_acts = self.moves().iter().any(|it| !matches!(it, Move::Act | Move::Tick));
        let helps = |act: &Act| match (refused, act) {
            (Act::Cancel(cancelled), Act::Place(order_id, _)) => cancelled == order_id,
            _ => act.order_id().is_none(),
        };
        more_than_acts || self.acts.iter().any(helps)
    }

    fn tick(&mut self) {
        let seconds = self.choices.of(&[1, 10, 30, A_DAY]);
        self.pass(seconds);
        self.trace.note(|| format!("{seconds} s pass"));
    }
}

/// A message, for people.
fn name(message: &Envelope) -> String {
    let of = message.event.order_id().map_or_else(String::new, |id| format!(" of order {}", number(id)));
    format!("{}{of} (message {})", message.event.event_type(), message.id.as_u128())
}

/// How it ended, for people.
pub(crate) fn told(end: End) -> &'static str {
    match end {
        End::Commit => "",
        End::CrashBefore => ", and crashes before the commit",
        End::CrashAfter => ", and crashes after the commit",
    }
}
