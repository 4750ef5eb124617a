//! One batch, one transaction: duplicates, neighbours, shutdown.

use events::{Envelope, Service};
use harness::World;

use super::bench::{Seat, short_delays};
use super::facts::{envelope, new_order, placed};
use super::inlet::Inlet;
use super::recorder::{Fault, Recorder};

async fn seat(world: &World) -> Seat {
    Seat::take(world, Service::Inventory, &short_delays()).await
}

async fn world() -> World {
    World::with(harness::world::Servers::shared(), &short_delays()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_many_times_takes_effect_once() {
    let world = world().await;
    let (seat, inlet, recorder) = (seat(&world).await, Inlet::open(&world).await, Recorder::default());
    let (twin, marker) = (new_order(), new_order());
    let message = envelope(placed(twin, "BEANS", 1), 1);
    // Before anybody consumes: the first come in one batch.
    inlet.publish(&vec![message.clone(); 5]).await;
    let replica = seat.open(recorder.clone()).await;
    seat.takes_effect(twin, &[1]).await;
    inlet.publish(&vec![message; 5]).await;
    inlet.publish(&[envelope(placed(marker, "BEANS", 1), 1)]).await;
    seat.takes_effect(marker, &[1]).await;
    replica.stop().await;
    assert_eq!(seat.effects(twin).await, [1]);
    assert_eq!(recorder.tries(twin), 1, "a duplicate reaches no handler");
    assert_eq!(seat.count("select count(*) from messaging.inbox").await, 2);
    assert_eq!(inlet.depth(&seat.events_queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_are_handled_in_batches() {
    let world = world().await;
    let (seat, inlet, recorder) = (seat(&world).await, Inlet::open(&world).await, Recorder::default());
    let messages: Vec<Envelope> = (0..250).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    inlet.publish(&messages).await;
    let replica = seat.open(recorder.clone()).await;
    harness::eventually("250 effects", async || {
        let effects = seat.count("select count(*) from effects").await;
        if effects == 250 { Ok(()) } else { Err(effects) }
    })
    .await;
    replica.stop().await;
    let sizes: Vec<_> = recorder.batches().iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    assert!(sizes.len() < 50, "what has arrived is taken together: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_gives_back_what_is_in_hand() {
    // What is put aside stays where the test sees it.
    let delays = "10m".parse().expect("delays");
    let world = World::with(harness::world::Servers::shared(), &delays).await;
    let seat = Seat::take(&world, Service::Inventory, &delays).await;
    let inlet = Inlet::open(&world).await;
    let messages: Vec<Envelope> = (0..20).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    inlet.publish(&messages).await;

    // The database is away for as long as this replica lives.
    let held = Recorder::default();
    for message in &messages {
        held.fail(message.event.order_id().expect("an order"), vec![Fault::Raise("57P01"); 10_000]);
    }
    let replica = seat.open(held.clone()).await;
    harness::eventually("a first try", async || if held.batches().is_empty() { Err("none") } else { Ok(()) })
        .await;
    replica.stop().await;
    inlet.holds(&seat.events_queue(), 20).await;
    assert_eq!(inlet.depth(&seat.dead_letters()).await, 0);
    assert_eq!(seat.count("select count(*) from messaging.inbox").await, 0);

    let replica = seat.open(Recorder::default()).await;
    for message in &messages {
        seat.takes_effect(message.event.order_id().expect("an order"), &[1]).await;
    }
    replica.stop().await;
    assert_eq!(inlet.depth(&seat.events_queue()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_loses_nothing() {
    let world = world().await;
    let (seat, inlet) = (seat(&world).await, Inlet::open(&world).await);
    let messages: Vec<Envelope> = (0..200).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    inlet.publish(&messages).await;
    for _ in 0..3 {
        // As soon as it is ready it is at work.
        seat.open(Recorder::default()).await.kill().await;
    }
    let replica = seat.open(Recorder::default()).await;
    for message in &messages {
        seat.takes_effect(message.event.order_id().expect("an order"), &[1]).await;
    }
    replica.stop().await;
    inlet.holds(&seat.events_queue(), 0).await;
    assert_eq!(inlet.depth(&seat.dead_letters()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_database_that_fell_silent() {
    let world = world().await;
    let (seat, inlet) = (seat(&world).await, Inlet::open(&world).await);
    let (silent, proxy) = seat.behind_proxy().await;
    let (recorder, order) = (Recorder::default(), new_order());
    let replica = silent.open(recorder.clone()).await;
    let lock = seat.lock("effects").await;
    inlet.publish(&[envelope(placed(order, "BEANS", 1), 1)]).await;
    harness::eventually("a transaction under way", async || {
        if recorder.batches().is_empty() { Err("none") } else { Ok(()) }
    })
    .await;
    proxy.fall_silent();
    replica.stop().await;
    // The database hears that its peer is gone, and frees what it held.
    proxy.heal();
    lock.rollback().await.expect("unlocked");
    let replica = seat.open(recorder).await;
    seat.takes_effect(order, &[1]).await;
    replica.stop().await;
}
