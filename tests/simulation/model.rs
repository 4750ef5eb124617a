//! Every run there is, of a system that is small enough: two orders, one piece on the shelf, one customer who cancels,
//! one deadline that passes, one crash of each service. [Stateright](https://www.stateright.rs) explores all of it.
//!
//! Where the simulation samples large runs, this leaves nothing out of small ones. The transition functions are the
//! shipped ones. What is around them is as hostile as can be:
//!
//! - A message that was sent stays for ever, and may be consumed at any time, in any order, any number of times: that is
//!   reordering, delay, duplication and redelivery. There is no inbox.
//! - A service may crash after each of its commits, before it has published or acknowledged anything. A crash before
//!   the commit leaves nothing behind, and is no step. With the outbox the other kind leaves just what the commit left:
//!   this is worked out each time, and a crash that made a difference would be a step of its own. What was not
//!   acknowledged comes again, as everything may.
//! - The processor may refuse to hold or to take the money; and once its dashboard may take the money or end the hold, or the
//!   hold expires: then it refuses what no longer fits. Its answer may be recorded at any time after the call, and
//!   again and again: that is the answer that was lost, the worker that died, and two workers with one job.
//!
//! What is checked of every state: nothing is oversold, nothing captured without a confirmed order, no transition invalid.
//! Not every message has to be consumed again, so a state is at rest when each was consumed once and each call's answer
//! recorded; then both orders must be over, with money and stock where they belong. Until then a step is always left,
//! and each step is progress, of which there may be only so much: so every run comes to rest.
//!
//! What is left out: mails and analytics, since no service consumes what they publish; orders of several lines and pieces; the
//! prices; and when a deadline passes, which here is any time: that an outage postpones it is only that. The two orders are interchangeable: of two states that
//! differ by which is which one is explored.

mod kept;
mod saga;
mod step;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;

use stateright::{Checker, HasDiscoveries, Model, Property};

use self::kept::Kept;
use self::saga::{Broken, Saga};
use self::step::Step;
use crate::hunt::tell;
use crate::injected;
use crate::system::{Publishing, System};
use crate::world::End;

use inventory::domain::{Level, Status as Held};
use order::state::Status;
use payment::domain::Action;
use system::Service;

/// The services that take part.
const PARTICIPANTS: [Service; 3] = [Service::Order, Service::Payment, Service::Inventory];

const VALID: &str = "no transition is invalid, and no event is published twice or without end";
const OVERSOLD: &str = "nothing is oversold";
const CAPTURED: &str = "no capture without a confirmed order";
const OVER: &str = "what has come to rest is over";

/// What is explored.
struct Shop {
    system: System,
    /// What was worked out before. The orders meet at the shelf only, so that few of them make many states.
    known: Mutex<Known>,
}

/// The steps that change an order, by its digest and the shelf.
type Known = HashMap<(u64, Level), Arc<[Change]>>;

/// What a step makes of an order and of the shelf.
struct Change {
    step: Step,
    end: End,
    becomes: Result<(Kept, Level), Broken>,
}

/// All that there is at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    sagas: [Kept; 2],
    shelf: Level,
    may_cancel: bool,
    may_expire: bool,
    may_meddle: bool,
    may_crash: [bool; PARTICIPANTS.len()],
    /// What was done that cannot be: a bug.
    broken: Option<Broken>,
}

impl Model for Shop {
    type State = State;
    /// Which of the orders, what happens to it, and whether the service survives it.
    type Action = (usize, Step, End);

    fn init_states(&self) -> Vec<State> {
        let placed = Kept::new(Saga::placed());
        vec![State {
            sagas: [placed.clone(), placed],
            shelf: Level { on_hand: 1, reserved: 0 },
            may_cancel: true,
            may_expire: true,
            may_meddle: true,
            may_crash: [true; PARTICIPANTS.len()],
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<(usize, Step, End)>) {
        if state.broken.is_some() {
            return;
        }
        for (index, saga) in state.sagas.iter().enumerate() {
            let changes = self.changes(saga, state.shelf);
            let allowed = changes.iter().filter(|change| state.allows(change.step, change.end));
            actions.extend(allowed.map(|change| (index, change.step, change.end)));
        }
    }

    fn next_state(&self, last: &State, (index, step, end): (usize, Step, End)) -> Option<State> {
        let changes = self.changes(&last.sagas[index], last.shelf);
        let change = changes.iter().find(|change| (change.step, change.end) == (step, end))?;
        let mut state = last.clone();
        state.forbid_another(step, end);
        match &change.becomes {
            Ok((saga, shelf)) => {
                state.sagas[index] = saga.clone();
                state.shelf = *shelf;
            }
            Err(broken) => state.broken = Some(broken),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(VALID, |_, state| state.broken.is_none()),
            Property::<Self>::always(OVERSOLD, |_, state| state.nothing_is_oversold()),
            Property::<Self>::always(CAPTURED, |_, state| {
                state.sagas.iter().all(|saga| !saga.captured() || saga.was_confirmed())
            }),
            Property::<Self>::always(OVER, |_, state| {
                !state.is_at_rest() || state.sagas.iter().all(|saga| saga.is_over())
            }),
            Property::<Self>::sometimes("an order is completed", |_, state| {
                state.ends_with(Status::Completed)
            }),
            Property::<Self>::sometimes("both orders are cancelled", |_, state| {
                state.is_at_rest() && !state.ends_with(Status::Completed)
            }),
            Property::<Self>::sometimes("money is given back", |_, state| {
                state.sagas.iter().any(|saga| saga.answer(Action::Refund).is_some())
            }),
        ]
    }
}

impl Shop {
    fn new(system: System) -> Self {
        Self { system, known: Mutex::default() }
    }

    /// The steps that change an order, with what they make of it. The functions are pure, so once is enough.
    fn changes(&self, saga: &Kept, shelf: Level) -> Arc<[Change]> {
        let known = || self.known.lock().expect("no panic while it is locked");
        let key = (saga.digest(), shelf);
        if let Some(changes) = known().get(&key) {
            return changes.clone();
        }
        let changes: Arc<[Change]> =
            saga.steps().into_iter().flat_map(|step| self.endings(saga, shelf, step)).collect();
        known().insert(key, changes.clone());
        changes
    }

    /// What a step leads to, by how it ends. A step that changes nothing leads nowhere, and a crash that leaves what a
    /// commit leaves is not another end.
    fn endings(&self, saga: &Kept, shelf: Level, step: Step) -> impl Iterator<Item = Change> {
        let after = |end| saga.after(&self.system, shelf, (step, end));
        let (committed, crashed) = (after(End::Commit), after(End::CrashAfter));
        let differs = step.service().is_some() && crashed != committed;
        let changes = [Some((End::Commit, committed)), differs.then_some((End::CrashAfter, crashed))];
        let unchanged = Ok((saga.clone(), shelf));
        let changes = changes.into_iter().flatten().filter(move |(_, becomes)| *becomes != unchanged);
        changes.map(move |(end, becomes)| Change { step, end, becomes })
    }
}

impl State {
    /// Whether the customer, the clock and the crash of this service still have their turn.
    fn allows(&self, step: Step, end: End) -> bool {
        let turn = match step {
            Step::Cancel => self.may_cancel,
            Step::Expire => self.may_expire,
            Step::EndHold | Step::CaptureByHand => self.may_meddle,
            _ => true,
        };
        turn && (end == End::Commit || place(step).is_some_and(|place| self.may_crash[place]))
    }

    fn forbid_another(&mut self, step: Step, end: End) {
        self.may_cancel &= step != Step::Cancel;
        self.may_expire &= step != Step::Expire;
        self.may_meddle &= !matches!(step, Step::EndHold | Step::CaptureByHand);
        if let Some(place) = place(step).filter(|_| end != End::Commit) {
            self.may_crash[place] = false;
        }
    }

    /// The one piece is on the shelf, or with the one customer whose stock was committed; and what is reserved is
    /// reserved for somebody.
    fn nothing_is_oversold(&self) -> bool {
        let count = |status| self.sagas.iter().filter(|saga| saga.stock_is(status)).count() as i64;
        let Level { on_hand, reserved } = self.shelf;
        0 <= reserved
            && reserved <= on_hand
            && reserved == count(Held::Reserved)
            && on_hand == 1 - count(Held::Committed)
    }

    fn is_at_rest(&self) -> bool {
        self.sagas.iter().all(Kept::is_at_rest)
    }

    fn ends_with(&self, status: Status) -> bool {
        self.is_at_rest() && self.sagas.iter().any(|saga| saga.order.status == status)
    }

    /// The same for two states that differ by which order is which.
    fn representative(&self) -> Self {
        let mut state = self.clone();
        state.sagas.sort_by_key(Kept::digest);
        state
    }
}

/// The place, among those that take part, of the service whose step it is.
fn place(step: Step) -> Option<usize> {
    PARTICIPANTS.iter().position(|consumer| Some(*consumer) == step.service())
}

/// All there is, unless something fails before: what is wrong may also be without end.
fn explore(system: System, until: HasDiscoveries) -> impl Checker<Shop> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let checker = Shop::new(system).checker().threads(workers).finish_when(until);
    checker.symmetry_fn(State::representative).spawn_dfs().join()
}

/// The run that was found in which a property does not hold, step by step.
fn counterexample(checker: &impl Checker<Shop>, property: &'static str) -> Option<String> {
    let path = checker.discovery(property)?;
    let broken =
        path.last_state().broken.map_or_else(String::new, |broken| format!("Here it is {broken}.\n"));
    Some(told(&path.into_actions()) + &broken)
}

fn told(actions: &[(usize, Step, End)]) -> String {
    let line = |(number, (index, step, end)): (usize, &(usize, Step, End))| {
        let crash = if *end == End::Commit { "" } else { ", and crashes after the commit" };
        format!("{:4}. order {}: {step}{crash}\n", number + 1, index + 1)
    };
    actions.iter().enumerate().map(line).collect()
}

#[test]
fn every_run_of_two_orders_ends_well() {
    let checker = explore(System::SHIPPED, HasDiscoveries::AnyFailures);
    for property in [VALID, OVERSOLD, CAPTURED, OVER] {
        if let Some(steps) = counterexample(&checker, property) {
            panic!("it does not hold that {property}. Step by step:\n\n{steps}");
        }
    }
    checker.assert_properties();
    let (states, different) = (checker.state_count(), checker.unique_state_count());
    tell(&format!("the model: {states} states, {different} of them different, all explored"));
    assert!(different > 100_000, "{different} states: that is not all");
}

#[test]
fn injected_faults_break_the_model() {
    let breaks = |system, property| {
        let checker = explore(system, HasDiscoveries::AnyOf([property].into()));
        assert!(checker.discovery(property).is_some(), "{property}");
    };
    let shipped = System::SHIPPED;
    breaks(System { inventory: injected::reserves_blindly, ..shipped }, OVERSOLD);
    breaks(System { payment: injected::captures_at_once, ..shipped }, CAPTURED);
    breaks(System { payment: injected::forgets_the_refund, ..shipped }, OVER);
    breaks(System { payment: injected::leaves_no_tombstone, ..shipped }, OVER);
    breaks(System { timeout: injected::cancels_what_is_over, ..shipped }, VALID);
    breaks(System { publishing: Publishing::AfterCommit, ..shipped }, OVER);
}

#[test]
fn fault_in_the_model_is_printed_step_by_step() {
    let system = System { inventory: injected::reserves_blindly, ..System::SHIPPED };
    let checker = explore(system, HasDiscoveries::AnyOf([OVERSOLD].into()));
    let steps = counterexample(&checker, OVERSOLD).expect("an injected fault is found");
    assert!(steps.contains(". order 1: inventory consumes order.placed\n"), "{steps}");
    assert!(steps.contains(". order 2: inventory consumes order.placed\n"), "{steps}");
}
