//! Dead letters of the stream reader: rows that it takes up again itself.

use contracts::Envelope;
use runtime::tasks::Tasks;
use system::Service;
use testkit::eventually;

use super::{Stage, TRIES, placed_for};
use testkit::facts::new_order;
use testkit::fixture::Replica;
use testkit::recorder::Fault;

async fn open(stage: &Stage) -> Replica {
    let host = stage.fixture.node();
    let mut tasks = Tasks::new(host.shutdown.clone());
    host.start_reader(&mut tasks, stage.recorder.clone());
    let replica = Replica::of(host, tasks);
    replica.ready().await;
    replica
}

/// An event that failed every attempt, in a reader that goes on.
async fn failed(stage: &Stage) -> (Envelope, Replica) {
    let (event, next) = (placed_for(new_order()), new_order());
    let order = event.event.order_id().expect("an order");
    stage.recorder.fail(order, vec![Fault::InvalidTransition; TRIES]);
    stage.raw_publisher.publish(&[event.clone(), placed_for(next)]).await;
    let replica = open(stage).await;
    stage.fixture.takes_effect(next, &[1]).await;
    stage.fixture.dead_letters(1).await;
    (event, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_replay_counts_a_repeated_event_once() {
    let stage = Stage::set(Service::Analytics).await;
    let (event, replica) = failed(&stage).await;
    let order = event.event.order_id().expect("an order");
    let listed = stage.list().await;
    let [dead_letter] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(dead_letter["message_id"], event.id.to_string());
    assert_eq!(dead_letter["reason"], format!("order {order} is told to fail and cannot take this"));
    assert_eq!(
        (&dead_letter["attempts"], &dead_letter["subject"]),
        (&TRIES.into(), &order.to_string().into())
    );

    let id = dead_letter["id"].as_str().expect("an id");
    assert_eq!(stage.done(&["replay", id]).await, "to be handled again: 1 of analytics\n");
    stage.fixture.takes_effect(order, &[1]).await;
    stage.nothing_has_failed().await;
    // The log's copy of an unsure relay finds it in the inbox.
    let last = new_order();
    stage.raw_publisher.publish(&[event, placed_for(last)]).await;
    stage.fixture.takes_effect(last, &[1]).await;
    replica.stop().await;
    assert_eq!(stage.fixture.effects(order).await, [1]);
    assert_eq!(stage.history().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_replay_of_an_applied_event_changes_nothing() {
    let stage = Stage::set(Service::Analytics).await;
    let (event, replica) = failed(&stage).await;
    let order = event.event.order_id().expect("an order");
    stage.raw_publisher.publish(&[event]).await;
    stage.fixture.takes_effect(order, &[1]).await;
    stage.done(&["replay", "--all"]).await;
    stage.nothing_has_failed().await;
    replica.stop().await;
    assert_eq!(stage.fixture.effects(order).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_stream_replay_keeps_its_dead_letter_with_new_reason() {
    let stage = Stage::set(Service::Analytics).await;
    let (event, replica) = failed(&stage).await;
    let order = event.event.order_id().expect("an order");
    let panics = std::iter::repeat_n(Fault::Panic, TRIES);
    stage.recorder.fail(order, [Fault::Raise("40001"), Fault::Terminate].into_iter().chain(panics));
    let before = stage.list().await;
    stage.done(&["replay", "--all"]).await;
    let again = eventually("a new reason", async || {
        let dead_letters = stage.list().await;
        let reason = dead_letters.first().and_then(|dead| dead["reason"].as_str()).unwrap_or_default();
        if reason.starts_with("panic: told to") { Ok(dead_letters) } else { Err(dead_letters) }
    })
    .await;
    assert_eq!((again.len(), &again[0]["id"]), (1, &before[0]["id"]));
    assert!(again[0]["failed_at"].as_str() > before[0]["failed_at"].as_str());
    assert!(again[0]["due_at"].is_null(), "nobody tries it again by itself");
    assert!(stage.fixture.effects(order).await.is_empty());

    stage.done(&["replay", "--all"]).await;
    stage.fixture.takes_effect(order, &[1]).await;
    stage.nothing_has_failed().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_replay_waits_for_a_reader_until_a_discard() {
    let stage = Stage::set(Service::Analytics).await;
    let (event, replica) = failed(&stage).await;
    let order = event.event.order_id().expect("an order");
    replica.stop().await;
    let id = stage.only_id().await;
    stage.done(&["replay", &id]).await;
    assert!(stage.done(&["list", "--waiting"]).await.contains(&id), "it is still there");
    assert!(stage.done(&["replay", "--all"]).await.starts_with("nothing to replay"));
    let said = stage.done(&["discard", &id, "--reason", "of no use"]).await;
    assert_eq!(said, "discarded: 1 of analytics\n");
    assert_eq!(stage.done(&["list"]).await, "there are no dead letters of analytics\n");
    let next = new_order();
    let replica = open(&stage).await;
    stage.raw_publisher.publish(&[placed_for(next)]).await;
    stage.fixture.takes_effect(next, &[1]).await;
    replica.stop().await;
    assert!(stage.fixture.effects(order).await.is_empty());
    let actions: Vec<_> = stage.history().await.iter().map(|action| action["action"].clone()).collect();
    assert_eq!(actions, ["replay", "discard"]);
}
