//! The stream reader: each event counts exactly once.

use contracts::{Envelope, OrderId};
use runtime::tasks::Tasks;
use system::Service;
use testkit::World;

use testkit::facts::{envelope, new_order, placed};
use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

async fn stage() -> (World, ServiceFixture, RawPublisher) {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Analytics, &short_delays()).await;
    let raw_publisher = RawPublisher::open(&world).await;
    (world, fixture, raw_publisher)
}

async fn open(fixture: &ServiceFixture, recorder: &Recorder) -> Replica {
    let host = fixture.node();
    let mut tasks = Tasks::new(host.shutdown.clone());
    host.start_reader(&mut tasks, recorder.clone());
    let replica = Replica::of(host, tasks);
    replica.ready().await;
    replica
}

fn events(count: usize) -> (Vec<OrderId>, Vec<Envelope>) {
    let orders: Vec<_> = (0..count).map(|_| new_order()).collect();
    let envelopes = orders.iter().map(|order| envelope(placed(*order, "BEANS", 1), 1)).collect();
    (orders, envelopes)
}

async fn all_in_effect(fixture: &ServiceFixture, orders: &[OrderId]) {
    for order in orders {
        fixture.takes_effect(*order, &[1]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_published_twice_counts_once() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (mut orders, envelopes) = events(5);
    raw_publisher.publish(&envelopes).await;
    raw_publisher.publish(&envelopes).await;
    let replica = open(&fixture, &Recorder::default()).await;
    all_in_effect(&fixture, &orders).await;
    raw_publisher.publish(&envelopes).await;
    let (last, envelopes) = events(1);
    raw_publisher.publish(&envelopes).await;
    orders.extend(last);
    all_in_effect(&fixture, &orders).await;
    replica.stop().await;
    assert_eq!(fixture.count("select count(*) from effects").await, 6);
    assert_eq!(fixture.count("select next_offset from messaging.stream_offsets").await, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_large_header_does_not_stop_the_reader() {
    let (world, fixture, raw_publisher) = stage().await;
    let (orders, envelopes) = events(2);
    raw_publisher.publish(&envelopes[..1]).await;
    // The second is as large as a header that is published over AMQP can be.
    for length in [20_000, 130_000] {
        world.publish_with_header("product.listed", "poison", length).await;
    }
    raw_publisher.publish(&envelopes[1..]).await;
    let replica = open(&fixture, &Recorder::default()).await;
    all_in_effect(&fixture, &orders).await;
    fixture.dead_letters(2).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_under_another_routing_key_is_a_dead_letter() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (orders, envelopes) = events(1);
    let listed = include_bytes!("../../../contracts/samples/product.listed.v1.json");
    raw_publisher.send("domain.events", "payment.voided", "another's", listed).await;
    raw_publisher.publish(&envelopes).await;
    let replica = open(&fixture, &Recorder::default()).await;
    all_in_effect(&fixture, &orders).await;
    replica.stop().await;
    let [dead] = <[_; 1]>::try_from(fixture.dead_letters(1).await).expect("one");
    assert_eq!(dead.reason, "its routing key is \"payment.voided\", and its type is of product.listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_reader_continues_at_its_offset() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (first, envelopes) = events(100);
    raw_publisher.publish(&envelopes).await;
    for _ in 0..3 {
        // As soon as it is ready it is at work.
        open(&fixture, &Recorder::default()).await.kill().await;
    }
    let replica = open(&fixture, &Recorder::default()).await;
    all_in_effect(&fixture, &first).await;
    replica.kill().await;

    let (second, envelopes) = events(100);
    raw_publisher.publish(&envelopes).await;
    // The inbox would hide it if the stream was read from its start.
    sqlx::query("delete from messaging.inbox").execute(&fixture.pool).await.expect("deleted");
    let replica = open(&fixture, &Recorder::default()).await;
    all_in_effect(&fixture, &second).await;
    replica.stop().await;
    assert_eq!(fixture.count("select count(*) from effects").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_is_a_dead_letter_and_the_reader_continues() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (orders, envelopes) = events(9);
    let recorder = Recorder::default();
    recorder.fail(orders[3], vec![Fault::InvalidTransition; 4]);
    recorder.fail(orders[5], vec![Fault::Panic; 4]);
    recorder.fail(orders[7], [Fault::Raise("57P01"), Fault::Terminate, Fault::Raise("40001")]);
    raw_publisher.publish(&envelopes[..4]).await;
    raw_publisher.send("domain.events", "order.placed", "poison", b"poison").await;
    raw_publisher.publish(&envelopes[4..]).await;
    let replica = open(&fixture, &recorder).await;
    for (number, order) in orders.iter().enumerate() {
        if number != 3 && number != 5 {
            fixture.takes_effect(*order, &[1]).await;
        }
    }
    let dead = fixture.dead_letters(3).await;
    replica.stop().await;
    let dead: Vec<_> = dead.into_iter().map(|dead| (dead.attempts, dead.reason, dead.body)).collect();
    let [invalid, poison, panic] = dead.as_slice() else { panic!("{dead:?}") };
    let reason = format!("order {} is told to fail and cannot take this", orders[3]);
    assert_eq!(*invalid, (4, reason, body(&envelopes[3])));
    assert_eq!((poison.0, poison.2.as_slice()), (0, b"poison".as_slice()));
    assert!(poison.1.contains("not a CloudEvents envelope"), "{}", poison.1);
    assert_eq!(*panic, (4, format!("panic: told to, for order {}", orders[5]), body(&envelopes[5])));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_fails_twice_counts_once() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (orders, envelopes) = events(3);
    let recorder = Recorder::default();
    recorder.fail(orders[1], [Fault::InvalidTransition, Fault::Panic]);
    raw_publisher.publish(&envelopes).await;
    let replica = open(&fixture, &recorder).await;
    all_in_effect(&fixture, &orders).await;
    replica.stop().await;
    assert!(recorder.tries(orders[1]) >= 3);
    fixture.has_no_failed_message().await;
}

fn body(envelope: &Envelope) -> Vec<u8> {
    envelope.to_json().expect("JSON").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_readers_reads_until_it_dies() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (one, two) = (Recorder::default(), Recorder::default());
    let reader = open(&fixture, &one).await;
    let waiting = open(&fixture, &two).await;
    let (first, envelopes) = events(20);
    raw_publisher.publish(&envelopes).await;
    all_in_effect(&fixture, &first).await;
    assert!(two.batches().is_empty(), "only one reads");

    reader.kill().await;
    let (second, envelopes) = events(20);
    raw_publisher.publish(&envelopes).await;
    all_in_effect(&fixture, &second).await;
    assert!(first.iter().all(|order| two.tries(*order) == 0), "it continues where the first was");
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_readers_count_every_event_once() {
    let (_world, fixture, raw_publisher) = stage().await;
    let (one, two) = (open(&fixture, &Recorder::default()).await, open(&fixture, &Recorder::default()).await);
    // The first reader loses its lease without noticing.
    let cut = "select count(pg_terminate_backend(backend_pid)) from messaging.leases where name = 'reader'";
    assert_eq!(fixture.count(cut).await, 1);
    let mut all = Vec::new();
    for _ in 0..20 {
        let (orders, envelopes) = events(10);
        raw_publisher.publish(&envelopes).await;
        all.extend(orders);
    }
    all_in_effect(&fixture, &all).await;
    one.stop().await;
    two.stop().await;
    assert_eq!(fixture.count("select count(*) from effects").await, 200);
}
