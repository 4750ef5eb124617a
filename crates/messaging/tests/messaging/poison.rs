//! Messages that no attempt can handle: each is a dead letter at once, its body unchanged.

use contracts::Envelope;
use lapin::options::{BasicGetOptions, BasicNackOptions};
use system::Service;
use testkit::World;

use testkit::facts::{envelope, new_order, placed};
use testkit::fixture::{ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

const EVENTS: &str = "domain.events";

/// Up to the largest that a client can publish over AMQP, where a header has one frame of 128 KiB.
const LARGE_HEADERS: [usize; 2] = [20_000, 130_000];

async fn stage() -> (World, ServiceFixture, RawPublisher) {
    let world = World::with(testkit::world::Servers::shared(), &short_delays()).await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let raw_publisher = RawPublisher::open(&world).await;
    (world, fixture, raw_publisher)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_message_is_an_unchanged_dead_letter() {
    let (_world, fixture, raw_publisher) = stage().await;
    let placed = envelope(placed(new_order(), "BEANS", 1), 1);
    let json = placed.to_json().expect("JSON");
    let not_subscribed = include_bytes!("../../../contracts/samples/product.listed.v1.json");
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("empty", Vec::new(), "not a CloudEvents envelope"),
        ("text", b"not json".to_vec(), "not a CloudEvents envelope"),
        ("bytes", vec![0, 159, 146, 150], "not a CloudEvents envelope"),
        ("other", b"{}".to_vec(), "not a CloudEvents envelope"),
        ("unknown", json.replace("order.placed.v1", "order.mislaid.v1").into_bytes(), "not supported"),
        ("newer", json.replace("order.placed.v1", "order.placed.v9").into_bytes(), "not supported"),
        (
            "of another service",
            not_subscribed.to_vec(),
            "its routing key is \"order.placed\", and its type is of product.listed",
        ),
    ];
    let (before, after) = (new_order(), new_order());
    raw_publisher.publish(&[placed_for(before)]).await;
    for (id, body, _) in &cases {
        raw_publisher.send(EVENTS, "order.placed", id, body).await;
    }
    raw_publisher.send("inventory.own", &fixture.events_queue(), "stray", not_subscribed).await;
    raw_publisher.publish(&[placed_for(after)]).await;

    let replica = fixture.open(Recorder::default()).await;
    fixture.takes_effect(before, &[1]).await;
    fixture.takes_effect(after, &[1]).await;
    let stray = ("stray", not_subscribed.to_vec(), "is not subscribed to here");
    for (id, body, reason) in cases.iter().chain([&stray]) {
        let dead = raw_publisher.take(&fixture.dead_letters()).await;
        assert_eq!(dead.id, *id, "in the order in which they came");
        assert_eq!(dead.body, *body, "{id}");
        assert!(dead.header("x-reason").contains(reason), "{id}: {dead:?}");
        assert_eq!(dead.header("x-origin"), "inventory.events", "{id}");
        assert_eq!(dead.header("x-attempts"), "0", "{id} was never tried");
    }
    replica.stop().await;
    for queue in [fixture.events_queue(), fixture.dead_letters()].into_iter().chain(fixture.retry_queues()) {
        raw_publisher.holds(&queue, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_message_in_a_repeated_batch_is_one_dead_letter() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (order, held) = (new_order(), Recorder::default());
    held.fail(order, vec![Fault::Raise("57P01"); 10_000]);
    raw_publisher.send(EVENTS, "order.placed", "poison", b"poison").await;
    raw_publisher.publish(&[placed_for(order)]).await;
    let replica = fixture.open(held.clone()).await;
    testkit::eventually("a try", async || if held.tries(order) > 0 { Ok(()) } else { Err("none") }).await;
    // The batch is requeued, and comes again with the invalid message in it.
    replica.stop().await;
    let recorder = Recorder::default();
    recorder.fail(order, [Fault::InvalidTransition, Fault::Raise("40P01")]);
    let replica = fixture.open(recorder).await;
    fixture.takes_effect(order, &[1]).await;
    raw_publisher.holds(&fixture.dead_letters(), 1).await;
    replica.stop().await;
    assert_eq!(raw_publisher.depth(&fixture.dead_letters()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_large_header_is_a_dead_letter() {
    let (world, fixture, raw_publisher) = stage().await;
    let (before, after) = (new_order(), new_order());
    raw_publisher.publish(&[placed_for(before)]).await;
    for length in LARGE_HEADERS {
        world.publish_with_header("order.placed", "poison", length).await;
    }
    raw_publisher.publish(&[placed_for(after)]).await;
    let replica = fixture.open(Recorder::default()).await;
    fixture.takes_effect(before, &[1]).await;
    fixture.takes_effect(after, &[1]).await;
    for _ in LARGE_HEADERS {
        let dead = raw_publisher.take(&fixture.dead_letters()).await;
        assert_eq!(dead.body, b"poison");
        assert!(dead.header("x-reason").contains("not a CloudEvents envelope"), "{dead:?}");
    }
    raw_publisher.holds(&fixture.events_queue(), 0).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_survives_any_number_of_looks() {
    let (_world, fixture, raw_publisher) = stage().await;
    raw_publisher.send(EVENTS, "order.placed", "poison", b"poison").await;
    let replica = fixture.open(Recorder::default()).await;
    let queue = fixture.dead_letters();
    raw_publisher.holds(&queue, 1).await;
    // More often than the delivery limit of an events queue.
    for _ in 0..60 {
        let message = testkit::eventually("the dead letter", async || {
            let got = raw_publisher.0.basic_get(queue.as_str().into(), BasicGetOptions::default()).await;
            got.expect("an answer").ok_or("none")
        })
        .await;
        assert_eq!(message.data, b"poison");
        let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        message.delivery.acker.nack(back).await.expect("put back");
    }
    raw_publisher.holds(&queue, 1).await;
    replica.stop().await;
}

fn placed_for(order: contracts::OrderId) -> Envelope {
    envelope(placed(order, "BEANS", 1), 1)
}
