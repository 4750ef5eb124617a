//! The reader of the log: each event counts exactly once.

use events::{Envelope, OrderId, Service};
use harness::World;
use harness::world::Servers;
use runtime::tasks::Tasks;

use super::bench::{Replica, Seat, short_delays};
use super::facts::{envelope, new_order, placed};
use super::inlet::Inlet;
use super::recorder::{Fault, Recorder};

async fn stage() -> (World, Seat, Inlet) {
    let world = World::with(Servers::shared(), &short_delays()).await;
    let seat = Seat::take(&world, Service::Analytics, &short_delays()).await;
    let inlet = Inlet::open(&world).await;
    (world, seat, inlet)
}

async fn open(seat: &Seat, recorder: &Recorder) -> Replica {
    let node = seat.node();
    let mut tasks = Tasks::new(node.shutdown.clone());
    node.start_reader(&mut tasks, recorder.clone());
    let replica = Replica::of(node, tasks);
    replica.ready().await;
    replica
}

fn events(count: usize) -> (Vec<OrderId>, Vec<Envelope>) {
    let orders: Vec<_> = (0..count).map(|_| new_order()).collect();
    let envelopes = orders.iter().map(|order| envelope(placed(*order, "BEANS", 1), 1)).collect();
    (orders, envelopes)
}

async fn all_in_effect(seat: &Seat, orders: &[OrderId]) {
    for order in orders {
        seat.takes_effect(*order, &[1]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_counts_once_though_it_is_published_twice() {
    let (_world, seat, inlet) = stage().await;
    let (mut orders, envelopes) = events(5);
    inlet.publish(&envelopes).await;
    inlet.publish(&envelopes).await;
    let replica = open(&seat, &Recorder::default()).await;
    all_in_effect(&seat, &orders).await;
    inlet.publish(&envelopes).await;
    let (last, envelopes) = events(1);
    inlet.publish(&envelopes).await;
    orders.extend(last);
    all_in_effect(&seat, &orders).await;
    replica.stop().await;
    assert_eq!(seat.count("select count(*) from effects").await, 6);
    assert_eq!(seat.count("select next_offset from messaging.stream_offsets").await, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_killed_goes_on_at_its_offset() {
    let (_world, seat, inlet) = stage().await;
    let (first, envelopes) = events(100);
    inlet.publish(&envelopes).await;
    for _ in 0..3 {
        // As soon as it is ready it is at work.
        open(&seat, &Recorder::default()).await.kill().await;
    }
    let replica = open(&seat, &Recorder::default()).await;
    all_in_effect(&seat, &first).await;
    replica.kill().await;

    let (second, envelopes) = events(100);
    inlet.publish(&envelopes).await;
    // The inbox would hide it if the log was read from its start.
    sqlx::query("delete from messaging.inbox").execute(&seat.pool).await.expect("deleted");
    let replica = open(&seat, &Recorder::default()).await;
    all_in_effect(&seat, &second).await;
    replica.stop().await;
    assert_eq!(seat.count("select count(*) from effects").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_applied_is_kept_and_the_reader_goes_on() {
    let (_world, seat, inlet) = stage().await;
    let (orders, envelopes) = events(9);
    let recorder = Recorder::default();
    recorder.fail(orders[3], [Fault::Impossible]);
    recorder.fail(orders[5], [Fault::Panic]);
    recorder.fail(orders[7], [Fault::Raise("57P01"), Fault::Terminate, Fault::Raise("40001")]);
    inlet.publish(&envelopes[..4]).await;
    inlet.send("domain.events", "order.placed", "poison", b"poison").await;
    inlet.publish(&envelopes[4..]).await;
    let replica = open(&seat, &recorder).await;
    for (number, order) in orders.iter().enumerate() {
        if number != 3 && number != 5 {
            seat.takes_effect(*order, &[1]).await;
        }
    }
    replica.stop().await;
    let dead: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(
        "select stream_offset, reason, body from messaging.stream_dead_letters order by stream_offset",
    )
    .fetch_all(&seat.pool)
    .await
    .expect("dead letters");
    let [impossible, poison, panic] = dead.as_slice() else { panic!("{dead:?}") };
    assert_eq!(*impossible, (3, format!("impossible: order {}", orders[3]), body(&envelopes[3])));
    assert_eq!((poison.0, poison.2.as_slice()), (4, b"poison".as_slice()));
    assert!(poison.1.contains("not a CloudEvents envelope"), "{}", poison.1);
    assert_eq!(*panic, (6, format!("panic: told to, for order {}", orders[5]), body(&envelopes[5])));
}

fn body(envelope: &Envelope) -> Vec<u8> {
    envelope.to_json().expect("JSON").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_readers_reads_and_the_other_takes_over() {
    let (_world, seat, inlet) = stage().await;
    let (one, two) = (Recorder::default(), Recorder::default());
    let reader = open(&seat, &one).await;
    let waiting = open(&seat, &two).await;
    let (first, envelopes) = events(20);
    inlet.publish(&envelopes).await;
    all_in_effect(&seat, &first).await;
    assert!(two.batches().is_empty(), "only one reads");

    reader.kill().await;
    let (second, envelopes) = events(20);
    inlet.publish(&envelopes).await;
    all_in_effect(&seat, &second).await;
    assert!(first.iter().all(|order| two.tries(*order) == 0), "it goes on where the first was");
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_read_at_once_count_every_event_once() {
    let (_world, seat, inlet) = stage().await;
    let (one, two) = (open(&seat, &Recorder::default()).await, open(&seat, &Recorder::default()).await);
    // The lock goes, and its reader does not notice.
    let cut = "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and granted
               and database = (select oid from pg_database where datname = current_database())";
    assert_eq!(seat.count(cut).await, 1);
    let mut all = Vec::new();
    for _ in 0..20 {
        let (orders, envelopes) = events(10);
        inlet.publish(&envelopes).await;
        all.extend(orders);
    }
    all_in_effect(&seat, &all).await;
    one.stop().await;
    two.stop().await;
    assert_eq!(seat.count("select count(*) from effects").await, 200);
}
