//! Message faults do what their names promise, and end when they are ended.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

use std::collections::BTreeSet;

use amqp::permissions::TOPOLOGY_USER;
use chaos::message_faults::{MessageFault, MessageFaults};
use contracts::Envelope;
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{envelope, new_order, placed};
use testkit::raw_publisher::RawPublisher;

const QUEUE: &str = "inventory.events";

/// Message faults before inventory's queue, which nobody consumes.
struct Stage {
    _world: World,
    raw_publisher: RawPublisher,
    faults: MessageFaults,
}

impl Stage {
    async fn with(fault: MessageFault) -> Self {
        let world = World::new().await;
        let url = world.amqp_url(TOPOLOGY_USER);
        let faults = MessageFaults::open(&url, Service::Inventory, 17).await.expect("message faults");
        faults.inject(fault).await;
        Self { raw_publisher: RawPublisher::open(&world).await, _world: world, faults }
    }

    async fn publish(&self, count: usize) -> Vec<String> {
        let envelopes: Vec<Envelope> =
            (0..count).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
        self.raw_publisher.publish(&envelopes).await;
        envelopes.iter().map(|envelope| envelope.id.to_string()).collect()
    }

    /// The ids of the messages that arrived.
    async fn arrived(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.raw_publisher.take(QUEUE).await.id);
        }
        ids
    }

    /// Ends the fault, and checks that later messages arrive once and at once.
    async fn ends(&self) {
        self.faults.restore().await;
        eventually("nothing under way", async || {
            if self.faults.is_empty().await.expect("an answer") { Ok(()) } else { Err("not yet") }
        })
        .await;
        self.raw_publisher.purge(QUEUE).await;
        let published = self.publish(3).await;
        assert_eq!(self.arrived(3).await, published);
        self.raw_publisher.holds(QUEUE, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubled_message_arrives_twice() {
    let stage = Stage::with(MessageFault::Doubled).await;
    let mut published = stage.publish(3).await;
    let mut arrived = stage.arrived(6).await;
    published.extend_from_within(..);
    published.sort();
    arrived.sort();
    assert_eq!(arrived, published);
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_messages_all_arrive_in_another_order() {
    let stage = Stage::with(MessageFault::Shuffled).await;
    let published = stage.publish(50).await;
    let arrived = stage.arrived(50).await;
    assert_ne!(arrived, published);
    assert_eq!(arrived.iter().collect::<BTreeSet<_>>(), published.iter().collect());
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_arrive_when_the_fault_ends() {
    let stage = Stage::with(MessageFault::Delayed).await;
    let published = stage.publish(3).await;
    eventually("three held messages", async || {
        if stage.faults.held() == 3 { Ok(()) } else { Err(stage.faults.held()) }
    })
    .await;
    assert_eq!(stage.raw_publisher.depth(QUEUE).await, 0);
    stage.faults.restore().await;
    assert_eq!(stage.arrived(3).await, published);
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_poison_is_known_by_its_ids() {
    for (fault, mark) in [(MessageFault::Poisoned, "no event"), (MessageFault::WrongVersion, ".v99\"")] {
        let stage = Stage::with(fault).await;
        let published: BTreeSet<String> = stage.publish(400).await.into_iter().collect();
        stage.faults.restore().await;
        eventually("all of them", async || {
            let injected = stage.faults.injected().len();
            let depth = usize::try_from(stage.raw_publisher.depth(QUEUE).await).expect("a small number");
            if injected > 0 && depth == published.len() + injected { Ok(()) } else { Err((injected, depth)) }
        })
        .await;
        let injected = stage.faults.injected();
        for _ in 0..published.len() + injected.len() {
            let taken = stage.raw_publisher.take(QUEUE).await;
            let is_poison = String::from_utf8_lossy(&taken.body).contains(mark);
            assert_eq!(is_poison, injected.contains(&taken.id), "{taken:?}");
            assert_ne!(is_poison, published.contains(&taken.id), "{taken:?}");
        }
        stage.ends().await;
    }
}
