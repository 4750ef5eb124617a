//! Many dead letters, two people at once, and a crash between putting back and removing.

use std::collections::BTreeSet;

use amqp::permissions::OPERATOR_USER;
use devstack::{NetworkFault, Proxy};
use messaging::dead_letters::{Action, DeadLetterId, DeadLetterSession, Request, Source};
use serde_json::Value;
use system::Service;
use testkit::eventually;

use super::{Stage, placed_for};
use testkit::facts::new_order;
use testkit::raw_publisher::RawPublisher;

/// Puts dead letters into the queue with these numbers as the messages' ids.
async fn fill(raw_publisher: &RawPublisher, count: usize) {
    for number in numbers(count) {
        raw_publisher.send("inventory.own", "inventory.dead-letters", &number, b"poison").await;
    }
}

fn message_ids(session: &DeadLetterSession) -> BTreeSet<String> {
    session.dead_letters().iter().map(|dead_letter| dead_letter.message_id.clone()).collect()
}

/// Takes as many messages out of a queue.
async fn take(raw_publisher: &RawPublisher, queue: &str, count: usize) -> BTreeSet<String> {
    let mut taken = BTreeSet::new();
    for _ in 0..count {
        taken.insert(raw_publisher.take(queue).await.id);
    }
    taken
}

/// What each of the actions or dead letters has under the name.
fn all(name: &str, values: &[Value]) -> BTreeSet<String> {
    values.iter().filter_map(|value| value[name].as_str().map(str::to_owned)).collect()
}

fn ids(session: &DeadLetterSession) -> Vec<DeadLetterId> {
    session.dead_letters().iter().map(|dead_letter| dead_letter.id.clone()).collect()
}

fn numbers(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn request() -> Request {
    Request { by: "ada".to_owned(), reason: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_1000_is_complete_and_removes_none() {
    let stage = Stage::set(Service::Inventory).await;
    fill(&stage.raw_publisher, 1000).await;
    let listed = stage.list().await;
    assert_eq!(stage.raw_publisher.depth(&stage.fixture.dead_letters()).await, 1000, "at once");
    assert_eq!((listed.len(), all("message_id", &listed)), (1000, numbers(1000)));
    assert_eq!(all("id", &listed).len(), 1000, "each has an id of its own");
    assert_eq!(all("id", &stage.list().await), all("id", &listed), "and keeps it");
    assert_eq!(take(&stage.raw_publisher, &stage.fixture.dead_letters(), 1000).await, numbers(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_of_all_is_recorded_for_each() {
    let stage = Stage::set(Service::Inventory).await;
    fill(&stage.raw_publisher, 250).await;
    assert_eq!(stage.done(&["replay", "--all"]).await, "to be handled again: 250 of inventory\n");
    assert_eq!(stage.raw_publisher.depth(&stage.fixture.dead_letters()).await, 0);
    assert_eq!(take(&stage.raw_publisher, &stage.fixture.events_queue(), 250).await, numbers(250));
    let history = stage.history().await;
    assert_eq!((history.len(), all("message_id", &history)), (250, numbers(250)));
    assert!(history.iter().all(|action| action["done_at"].is_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn second_session_waits_and_finds_every_dead_letter() {
    let stage = Stage::set(Service::Inventory).await;
    fill(&stage.raw_publisher, 50).await;
    let (database_url, amqp_url) =
        (stage.world.database_url("inventory").await, stage.world.amqp_url(OPERATOR_USER));
    let source =
        Source { service: Service::Inventory.into(), database_url: &database_url, amqp_url: Some(&amqp_url) };
    let first = DeadLetterSession::open(&source).await.expect("a session");
    let close_first = async {
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                       and database = (select oid from pg_database where datname = current_database())";
        eventually("a second session that waits", async || {
            if stage.fixture.count(waiting).await == 1 { Ok(()) } else { Err("none") }
        })
        .await;
        first.close().await.expect("closed");
    };
    let (second, ()) = tokio::join!(DeadLetterSession::open(&source), close_first);
    let second = second.expect("a session");
    assert_eq!(message_ids(&second), numbers(50));
    second.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_during_a_replay_leaves_a_harmless_duplicate() {
    let stage = Stage::set(Service::Inventory).await;
    let (order, event) = (new_order(), placed_for(new_order()));
    let failed = event.event.order_id().expect("an order");
    stage.dead_letter(&event).await.stop().await;
    let url = stage.world.amqp_url(OPERATOR_USER);
    let (_, address) = url.rsplit_once('@').expect("a URL with a user");
    let (host, vhost) = address.rsplit_once('/').expect("a URL with a vhost");
    let proxy = Proxy::before(host).await.expect("a proxy");
    let database_url = stage.world.database_url("inventory").await;
    let amqp_url = format!("amqp://{OPERATOR_USER}:{OPERATOR_USER}@{}/{vhost}", proxy.address());
    let source =
        Source { service: Service::Inventory.into(), database_url: &database_url, amqp_url: Some(&amqp_url) };
    let mut session = DeadLetterSession::open(&source).await.expect("a session");
    let (ids, request, queue) = (ids(&session), request(), stage.fixture.events_queue());

    // The broker takes the message, and its confirm is lost: so far the command comes.
    proxy.inject(NetworkFault::OneWay);
    tokio::select! {
        acted = session.act(Action::Replay, &ids, &request) => panic!("without a confirm: {acted:?}"),
        () = stage.raw_publisher.holds(&queue, 1) => {}
    }
    drop((session, proxy));
    stage.raw_publisher.holds(&stage.fixture.dead_letters(), 1).await;
    let history = stage.history().await;
    assert_eq!((history.len(), &history[0]["done_at"]), (1, &Value::Null), "the attempt is known");

    let replica = stage.fixture.open(stage.recorder.clone()).await;
    stage.fixture.takes_effect(failed, &[1]).await;
    assert_eq!(stage.done(&["replay", "--all"]).await, "to be handled again: 1 of inventory\n");
    stage.raw_publisher.publish(&[placed_for(order)]).await;
    stage.fixture.takes_effect(order, &[1]).await;
    stage.is_clean().await;
    replica.stop().await;
    assert_eq!(stage.fixture.effects(failed).await, [1], "it came twice, and took effect once");
    let history = stage.history().await;
    assert_eq!(history.iter().filter(|action| action["done_at"].is_string()).count(), 1, "{history:?}");
}
