//! What a chaos run does to messages does happen to them, and is over when it ends.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

use std::collections::BTreeSet;

use amqp::permissions::TOPOLOGY_USER;
use chaos::detour::{Detour, Mischief};
use contracts::Envelope;
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{envelope, new_order, placed};
use testkit::raw_publisher::RawPublisher;

const QUEUE: &str = "inventory.events";

/// A detour before inventory's queue, which nobody reads.
struct Road {
    _world: World,
    raw_publisher: RawPublisher,
    detour: Detour,
}

impl Road {
    async fn with(mischief: Mischief) -> Self {
        let world = World::new().await;
        let url = world.amqp_url(TOPOLOGY_USER);
        let detour = Detour::open(&url, Service::Inventory, 17).await.expect("a detour");
        detour.take(mischief).await;
        Self { raw_publisher: RawPublisher::open(&world).await, _world: world, detour }
    }

    async fn publish(&self, count: usize) -> Vec<String> {
        let envelopes: Vec<Envelope> =
            (0..count).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
        self.raw_publisher.publish(&envelopes).await;
        envelopes.iter().map(|envelope| envelope.id.to_string()).collect()
    }

    /// The ids of what has come through.
    async fn arrived(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.raw_publisher.take(QUEUE).await.id);
        }
        ids
    }

    /// Ends the mischief, and sees that what comes afterwards comes once and at once.
    async fn ends(&self) {
        self.detour.leave().await;
        eventually("an empty detour", async || {
            if self.detour.is_empty().await.expect("an answer") { Ok(()) } else { Err("not yet") }
        })
        .await;
        self.raw_publisher.purge(QUEUE).await;
        let published = self.publish(3).await;
        assert_eq!(self.arrived(3).await, published);
        self.raw_publisher.holds(QUEUE, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_each_message_comes_twice() {
    let road = Road::with(Mischief::Doubled).await;
    let mut published = road.publish(3).await;
    let mut arrived = road.arrived(6).await;
    published.extend_from_within(..);
    published.sort();
    arrived.sort();
    assert_eq!(arrived, published);
    road.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_all_come_and_in_another_order() {
    let road = Road::with(Mischief::Shuffled).await;
    let published = road.publish(50).await;
    let arrived = road.arrived(50).await;
    assert_ne!(arrived, published);
    assert_eq!(arrived.iter().collect::<BTreeSet<_>>(), published.iter().collect());
    road.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_nothing_comes_until_it_ends() {
    let road = Road::with(Mischief::Delayed).await;
    let published = road.publish(3).await;
    eventually("a detour that holds them", async || {
        if road.detour.held() == 3 { Ok(()) } else { Err(road.detour.held()) }
    })
    .await;
    assert_eq!(road.raw_publisher.depth(QUEUE).await, 0);
    road.detour.leave().await;
    assert_eq!(road.arrived(3).await, published);
    road.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_company_is_added_and_told() {
    for (mischief, mark) in [(Mischief::Poisoned, "no event"), (Mischief::WrongVersion, ".v99\"")] {
        let road = Road::with(mischief).await;
        let published: BTreeSet<String> = road.publish(400).await.into_iter().collect();
        road.detour.leave().await;
        eventually("all of them", async || {
            let planted = road.detour.planted().len();
            let depth = usize::try_from(road.raw_publisher.depth(QUEUE).await).expect("few");
            if planted > 0 && depth == published.len() + planted { Ok(()) } else { Err((planted, depth)) }
        })
        .await;
        let planted = road.detour.planted();
        for _ in 0..published.len() + planted.len() {
            let taken = road.raw_publisher.take(QUEUE).await;
            let bad = String::from_utf8_lossy(&taken.body).contains(mark);
            assert_eq!(bad, planted.contains(&taken.id), "{taken:?}");
            assert_ne!(bad, published.contains(&taken.id), "{taken:?}");
        }
        road.ends().await;
    }
}
