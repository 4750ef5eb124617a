//! The whole system in one thread, with no server: deterministic, and driven into every corner by chance.
//!
//! The services are made of pure functions, so they can be run without their shells. [`world`] puts all five together
//! with tables, outboxes, inboxes and jobs in memory, a broker that reorders and repeats, services that crash at the
//! worst moments, a card processor that times out, and a clock that moves only when told to. Every choice comes from
//! one seeded generator ([`choices`]), so that a seed is a run, and can be repeated. At the end everything must add up
//! ([`invariants`]). A seed that fails is made short ([`shrink`]) and told step by step ([`hunt`]).
//!
//! What chance may miss in a large world, [`model`] finds in a small one: it goes through every run there is. That all
//! this can find something is shown by injected faults ([`injected`]).
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod broker;
mod choices;
mod hunt;
mod injected;
mod invariants;
mod misjudged;
mod model;
mod outage;
mod outside;
mod plan;
mod services;
mod shrink;
mod system;
mod trace;
mod work;
mod world;

use std::collections::BTreeSet;
use std::ops::Range;

use contracts::{CancelReason, EventType};

use crate::choices::Choices;
use crate::system::System;
use crate::trace::Trace;

const SEEDS: Range<u64> = 0..10_000;

#[test]
fn whatever_goes_wrong_everything_adds_up() {
    hunt::assert_none_fails(System::SHIPPED, SEEDS, "whatever_goes_wrong_everything_adds_up");
}

#[test]
fn repeats_without_an_inbox_change_nothing() {
    hunt::assert_none_fails(System::FORGETFUL, SEEDS, "repeats_without_an_inbox_change_nothing");
}

#[test]
fn seeds_reach_every_event_and_every_reason() {
    let (mut events, mut reasons, mut placed) = (BTreeSet::new(), BTreeSet::new(), 0);
    hunt::for_each(System::SHIPPED, 0..300, |world| {
        events.extend(world.broker.log().iter().map(|message| message.event.event_type()));
        reasons.extend(world.tables.orders.rows.values().filter_map(|order| order.reason));
        placed += world.tables.orders.rows.len();
    });
    assert_eq!(events, EventType::ALL.iter().copied().collect());
    assert_eq!(reasons, CancelReason::KNOWN.iter().copied().collect());
    assert!(placed > 600, "{placed} orders: chance keeps customers from ordering");
}

#[test]
fn seed_repeats_the_same_run() {
    let told = |choices| {
        let (world, checked) = world::run(System::SHIPPED, choices, Trace::on());
        assert_eq!(checked, Ok(()));
        (world.trace.list(), world.choices.made())
    };
    for seed in 0..20 {
        let (steps, made) = told(Choices::of_seed(seed));
        assert_eq!(told(Choices::of_seed(seed)).0, steps, "seed {seed}");
        assert_eq!(told(Choices::of_script(made)).0, steps, "the choices of seed {seed}");
    }
}
