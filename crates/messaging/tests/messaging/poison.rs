//! Messages that no attempt can handle: each is a dead letter at once, its body unchanged.

use std::time::Duration;

use contracts::Envelope;
use messaging::dead_letters::FailedMessage;
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
    let world = World::new().await;
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
    let dead = fixture.dead_letters(8).await;
    for (id, body, reason) in cases.iter().chain([&stray]) {
        let dead = dead.iter().find(|dead| dead.message_id.as_deref() == Some(id)).expect(id);
        assert_eq!(dead.body, *body, "{id}");
        assert!(dead.reason.contains(reason), "{id}: {dead:?}");
        let unsupported = ["unknown", "newer", "stray"].contains(id);
        let class = if unsupported { "not_for_this_build" } else { "garbage" };
        assert_eq!((dead.class.as_str(), dead.attempts), (class, 0), "{id} was never tried");
        assert_eq!(dead.content_type.as_deref(), Some(contracts::envelope::CONTENT_TYPE), "{id}");
    }
    replica.stop().await;
    for queue in [fixture.events_queue(), fixture.backstop()] {
        raw_publisher.holds(&queue, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_build_does_not_support_waits_for_one_that_does() {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let fixture = fixture.with_unsupported_wait(Duration::from_hours(24));
    let raw_publisher = RawPublisher::open(&world).await;
    let newer =
        placed_for(new_order()).to_json().expect("JSON").replace("order.placed.v1", "order.placed.v9");
    raw_publisher.send(EVENTS, "order.placed", "newer", newer.as_bytes()).await;
    let replica = fixture.open(Recorder::default()).await;
    let waiting = fixture.retries(1).await;
    assert_eq!((waiting[0].class.as_str(), waiting[0].attempts), ("not_for_this_build", 0));
    let again = testkit::eventually("another look", async || {
        let waiting = fixture.retries(1).await;
        if waiting[0].failed_at > waiting[0].received_at { Ok(waiting) } else { Err(waiting) }
    })
    .await;
    assert_eq!(again[0].attempts, 0, "a look is no attempt");
    replica.stop().await;
    // The newer build reads it as the current one reads version 1.
    let text = String::from_utf8(again[0].body.clone()).expect("text");
    sqlx::query("update messaging.failed_messages set body = $1, due_at = now()")
        .bind(text.replace("order.placed.v9", "order.placed.v1").into_bytes())
        .execute(&fixture.pool)
        .await
        .expect("rewritten");
    let replica = fixture.open(Recorder::default()).await;
    fixture.retries(0).await;
    assert_eq!(fixture.count("select count(*) from effects").await, 1);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_postgres_cannot_store_is_stored_without_it() {
    let (_world, fixture, raw_publisher) = stage().await;
    raw_publisher
        .send(EVENTS, "order.placed", "with a \0", b"{\"id\": \"\\u0000\", \"type\": \"\\u0000.v1\"}")
        .await;
    let replica = fixture.open(Recorder::default()).await;
    let dead = fixture.dead_letters(1).await;
    assert_eq!(dead[0].message_id.as_deref(), Some("with a \u{fffd}"));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_gave_up_becomes_a_dead_letter() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (order, after) = (new_order(), new_order());
    let event = placed_for(order);
    raw_publisher
        .send(
            "inventory.own",
            &fixture.backstop(),
            &event.id.to_string(),
            event.to_json().expect("JSON").as_bytes(),
        )
        .await;
    let replica = fixture.open(Recorder::default()).await;
    raw_publisher.publish(&[placed_for(after)]).await;
    fixture.takes_effect(after, &[1]).await;
    let dead = fixture.dead_letters(1).await;
    assert_eq!(dead[0].reason, "found in the broker's queue of dead letters");
    assert_eq!((dead[0].subject.clone(), dead[0].class.as_str()), (Some(order.to_string()), "failed"));
    raw_publisher.holds(&fixture.backstop(), 0).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_consumer_is_tried_alone() {
    let (world, fixture, raw_publisher) = stage().await;
    let orders: Vec<_> = (0..3).map(|_| new_order()).collect();
    let envelopes: Vec<_> = orders.iter().map(|order| placed_for(*order)).collect();
    raw_publisher.publish(&envelopes).await;
    // Consumers that die with all three in hand.
    for _ in 0..3 {
        raw_publisher.holds(&fixture.events_queue(), 3).await;
        RawPublisher::die_with(&world, &fixture.events_queue(), 3).await;
    }
    let recorder = Recorder::default();
    let replica = fixture.open(recorder.clone()).await;
    for order in &orders {
        fixture.takes_effect(*order, &[1]).await;
    }
    replica.stop().await;
    assert!(recorder.batches().iter().all(|batch| batch.len() == 1), "{:?}", recorder.batches());
    fixture.has_no_failed_message().await;
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
    replica.stop().await;
    assert_eq!(fixture.dead_letters(1).await[0].body, b"poison");
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
    let length = |dead: &FailedMessage| dead.headers.to_string().len();
    for (dead, least) in fixture.dead_letters(LARGE_HEADERS.len()).await.iter().zip(LARGE_HEADERS) {
        assert_eq!(dead.body, b"poison");
        assert!(dead.reason.contains("not a CloudEvents envelope"), "{}", dead.reason);
        assert!(length(dead) >= least, "its headers are kept");
    }
    raw_publisher.holds(&fixture.events_queue(), 0).await;
    replica.stop().await;
}

fn placed_for(order: contracts::OrderId) -> Envelope {
    envelope(placed(order, "BEANS", 1), 1)
}
