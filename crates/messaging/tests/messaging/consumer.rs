//! One batch, one transaction: duplicates, neighbours, shutdown.

use contracts::Envelope;
use devstack::NetworkFault;
use system::Service;
use testkit::World;

use testkit::facts::{envelope, new_order, placed};
use testkit::fixture::{ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

async fn fixture(world: &World) -> ServiceFixture {
    ServiceFixture::take(world, Service::Inventory, &short_delays()).await
}

async fn world() -> World {
    World::new().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_takes_effect_once() {
    let world = world().await;
    let (fixture, raw_publisher, recorder) =
        (fixture(&world).await, RawPublisher::open(&world).await, Recorder::default());
    let (twin, marker) = (new_order(), new_order());
    let message = envelope(placed(twin, "BEANS", 1), 1);
    // Before anybody consumes: the first come in one batch.
    raw_publisher.publish(&vec![message.clone(); 5]).await;
    let replica = fixture.open(recorder.clone()).await;
    fixture.takes_effect(twin, &[1]).await;
    raw_publisher.publish(&vec![message; 5]).await;
    raw_publisher.publish(&[envelope(placed(marker, "BEANS", 1), 1)]).await;
    fixture.takes_effect(marker, &[1]).await;
    replica.stop().await;
    assert_eq!(fixture.effects(twin).await, [1]);
    assert_eq!(recorder.tries(twin), 1, "a duplicate does not reach the handler");
    assert_eq!(fixture.count("select count(*) from messaging.inbox").await, 2);
    assert_eq!(raw_publisher.depth(&fixture.events_queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_are_handled_in_batches() {
    let world = world().await;
    let (fixture, raw_publisher, recorder) =
        (fixture(&world).await, RawPublisher::open(&world).await, Recorder::default());
    let messages: Vec<Envelope> = (0..250).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    raw_publisher.publish(&messages).await;
    let replica = fixture.open(recorder.clone()).await;
    testkit::eventually("250 effects", async || {
        let effects = fixture.count("select count(*) from effects").await;
        if effects == 250 { Ok(()) } else { Err(effects) }
    })
    .await;
    replica.stop().await;
    let sizes: Vec<_> = recorder.batches().iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    assert!(sizes.len() < 50, "what has arrived is taken together: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_requeues_the_current_batch() {
    // A scheduled retry stays where the test sees it.
    let delays = "10m".parse().expect("delays");
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &delays).await;
    let raw_publisher = RawPublisher::open(&world).await;
    let messages: Vec<Envelope> = (0..20).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    raw_publisher.publish(&messages).await;

    // The database is unavailable for as long as this replica lives.
    let held = Recorder::default();
    for message in &messages {
        held.fail(message.event.order_id().expect("an order"), vec![Fault::Raise("57P01"); 10_000]);
    }
    let replica = fixture.open(held.clone()).await;
    testkit::eventually("a first try", async || if held.batches().is_empty() { Err("none") } else { Ok(()) })
        .await;
    replica.stop().await;
    raw_publisher.holds(&fixture.events_queue(), 20).await;
    fixture.has_no_failed_message().await;
    assert_eq!(fixture.count("select count(*) from messaging.inbox").await, 0);

    let replica = fixture.open(Recorder::default()).await;
    for message in &messages {
        fixture.takes_effect(message.event.order_id().expect("an order"), &[1]).await;
    }
    replica.stop().await;
    assert_eq!(raw_publisher.depth(&fixture.events_queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_loses_nothing() {
    let world = world().await;
    let (fixture, raw_publisher) = (fixture(&world).await, RawPublisher::open(&world).await);
    let messages: Vec<Envelope> = (0..200).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    raw_publisher.publish(&messages).await;
    for _ in 0..3 {
        // As soon as it is ready it is at work.
        fixture.open(Recorder::default()).await.kill().await;
    }
    let replica = fixture.open(Recorder::default()).await;
    for message in &messages {
        fixture.takes_effect(message.event.order_id().expect("an order"), &[1]).await;
    }
    replica.stop().await;
    raw_publisher.holds(&fixture.events_queue(), 0).await;
    fixture.has_no_failed_message().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_blackholed_database() {
    let world = world().await;
    let (fixture, raw_publisher) = (fixture(&world).await, RawPublisher::open(&world).await);
    let (silent, proxy) = fixture.behind_proxy().await;
    let (recorder, order) = (Recorder::default(), new_order());
    let replica = silent.open(recorder.clone()).await;
    let lock = fixture.lock("effects").await;
    raw_publisher.publish(&[envelope(placed(order, "BEANS", 1), 1)]).await;
    testkit::eventually("a transaction in progress", async || {
        if recorder.batches().is_empty() { Err("none") } else { Ok(()) }
    })
    .await;
    proxy.inject(NetworkFault::Blackhole);
    replica.stop().await;
    // The database notices that its client is gone, and releases its locks.
    proxy.restore();
    lock.rollback().await.expect("unlocked");
    let replica = fixture.open(recorder).await;
    fixture.takes_effect(order, &[1]).await;
    replica.stop().await;
}
