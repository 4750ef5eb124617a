//! The failure policy of the consumer: which failures wait, which are repeated, which schedule a retry.

use chrono::DateTime;
use contracts::{Envelope, OrderId};
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{envelope, new_order, placed};
use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

/// A world, a service in it whose handler fails as scripted, and a raw publisher.
struct Stage {
    fixture: ServiceFixture,
    raw_publisher: RawPublisher,
    recorder: Recorder,
    _world: World,
}

impl Stage {
    async fn set() -> Self {
        let world = World::with(testkit::world::Servers::shared(), &short_delays()).await;
        let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
        Self {
            fixture,
            raw_publisher: RawPublisher::open(&world).await,
            recorder: Recorder::default(),
            _world: world,
        }
    }

    /// Publishes one message for each order so that they are one batch: a first message keeps the consumer at a
    /// locked table until all others have reached it.
    async fn play(&self, orders: &[OrderId]) -> Replica {
        let lock = self.fixture.lock("effects").await;
        let replica = self.fixture.open(self.recorder.clone()).await;
        self.raw_publisher.publish(&messages(&[new_order()])).await;
        eventually(
            "a batch in hand",
            async || {
                if self.recorder.batches().is_empty() { Err("none") } else { Ok(()) }
            },
        )
        .await;
        self.raw_publisher.publish(&messages(orders)).await;
        self.raw_publisher.holds(&self.fixture.events_queue(), 0).await;
        lock.rollback().await.expect("the lock is gone");
        replica
    }

    /// The batches that were tried, without the first message's.
    fn batches(&self) -> Vec<Vec<OrderId>> {
        self.recorder.batches().split_off(1)
    }

    /// Every queue is empty, the dead letters included.
    async fn is_clean(&self) {
        for queue in [self.fixture.events_queue(), self.fixture.dead_letters()]
            .into_iter()
            .chain(self.fixture.retry_queues())
        {
            self.raw_publisher.holds(&queue, 0).await;
        }
    }
}

fn messages(orders: &[OrderId]) -> Vec<Envelope> {
    orders.iter().map(|order| envelope(placed(*order, "BEANS", 1), 1)).collect()
}

fn orders(count: usize) -> Vec<OrderId> {
    (0..count).map(|_| new_order()).collect()
}

/// One of ten messages fails until it is a dead letter.
async fn check_that_neighbours_commit(fault: Fault, reason: &str) {
    let stage = Stage::set().await;
    let orders = orders(10);
    let failing = orders[4];
    stage.recorder.fail(failing, vec![fault; 4]);
    let replica = stage.play(&orders).await;

    let dead = stage.raw_publisher.take(&stage.fixture.dead_letters()).await;
    assert!(dead.header("x-reason").contains(reason), "{dead:?}");
    assert_eq!(dead.header("x-origin"), "inventory.events");
    assert_eq!(dead.header("x-attempts"), "4", "the first and one for each of three retry delays");
    DateTime::parse_from_rfc3339(&dead.header("x-failed-at")).expect("a time");
    let envelope = Envelope::from_json(&dead.body).expect("untouched");
    assert_eq!(envelope.event.order_id(), Some(failing));
    assert_eq!(envelope.id.to_string(), dead.id);

    for order in orders.iter().filter(|order| **order != failing) {
        stage.fixture.takes_effect(*order, &[1]).await;
    }
    replica.stop().await;
    assert!(stage.fixture.effects(failing).await.is_empty());
    assert_eq!(stage.fixture.count("select count(*) from messaging.inbox").await, 10, "nine and the first");
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_transition_is_a_dead_letter_and_its_neighbours_commit() {
    check_that_neighbours_commit(Fault::InvalidTransition, "is told to fail").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violated_constraint_is_a_dead_letter_and_its_neighbours_commit() {
    check_that_neighbours_commit(Fault::Raise("23514"), "told to").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_dead_letter_and_its_neighbours_commit() {
    check_that_neighbours_commit(Fault::Panic, "panic: told to").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_twice_takes_effect_once() {
    let stage = Stage::set().await;
    let order = new_order();
    stage.recorder.fail(order, [Fault::InvalidTransition, Fault::Panic]);
    let replica = stage.play(&[order]).await;
    stage.fixture.takes_effect(order, &[1]).await;
    replica.stop().await;
    assert_eq!(stage.recorder.tries(order), 3);
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_in_the_message() {
    // Retry delays longer than the test looks at a message.
    let delays = "10m,20m".parse().expect("delays");
    let world = World::with(testkit::world::Servers::shared(), &delays).await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &delays).await;
    let (raw_publisher, recorder, order) =
        (RawPublisher::open(&world).await, Recorder::default(), new_order());
    recorder.fail(order, vec![Fault::InvalidTransition; 3]);
    let replica = fixture.open(recorder).await;
    let message = envelope(placed(order, "BEANS", 1), 1);
    raw_publisher.publish(std::slice::from_ref(&message)).await;

    for (attempts, queue) in (1..).zip(fixture.retry_queues().into_iter().chain([fixture.dead_letters()])) {
        let failed = raw_publisher.take(&queue).await;
        assert_eq!(failed.header("x-attempts"), attempts.to_string(), "in {queue}");
        assert_eq!(failed.body, message.to_json().expect("JSON").into_bytes());
        raw_publisher
            .put_back(
                &failed,
                &amqp::topology::own_exchange(fixture.service.as_str()),
                &fixture.events_queue(),
            )
            .await;
        if queue == fixture.dead_letters() {
            break;
        }
    }
    // The fourth attempt succeeds.
    fixture.takes_effect(order, &[1]).await;
    replica.stop().await;
}

/// Contention with one message of three, as often as given; all three take effect, and no attempt is counted.
async fn check_that_contention_is_repeated(state: &'static str, times: usize) -> Vec<Vec<OrderId>> {
    let stage = Stage::set().await;
    let orders = orders(3);
    stage.recorder.fail(orders[1], vec![Fault::Raise(state); times]);
    let replica = stage.play(&orders).await;
    for order in &orders {
        stage.fixture.takes_effect(*order, &[1]).await;
    }
    replica.stop().await;
    // A scheduled retry would come through the events queue again, in another batch.
    assert_eq!(stage.recorder.tries(orders[1]), times + 1, "{state}");
    stage.is_clean().await;
    stage.batches()
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_is_repeated_and_costs_no_attempt() {
    for state in ["40P01", "40001", "55P03", "57014"] {
        let batches = check_that_contention_is_repeated(state, 3).await;
        assert!(batches.iter().all(|batch| batch.len() == 3), "{state} split the batch: {batches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_that_persists_splits_the_batch() {
    let batches = check_that_contention_is_repeated("40P01", 13).await;
    let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
    // The batch and ten repeats; then one by one, the second of them contended twice more.
    assert_eq!(sizes, [vec![3; 11], vec![1; 5]].concat());
}

/// The database is unavailable for some tries: the batch waits, then it takes effect once.
async fn check_that_the_work_waits(fault: Fault) {
    let stage = Stage::set().await;
    let orders = orders(5);
    stage.recorder.fail(orders[2], vec![fault; 12]);
    let replica = stage.play(&orders).await;
    for order in &orders {
        stage.fixture.takes_effect(*order, &[1]).await;
    }
    eventually("readiness", async || if replica.host.health.all_up() { Ok(()) } else { Err("not ready") })
        .await;
    replica.stop().await;
    assert_eq!(stage.recorder.tries(orders[2]), 13, "as a batch, over and over");
    assert!(stage.batches().iter().all(|batch| batch.len() == 5), "never split: {:?}", stage.batches());
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_waits_while_the_database_shuts_down() {
    check_that_the_work_waits(Fault::Raise("57P01")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_waits_after_its_session_is_terminated() {
    check_that_the_work_waits(Fault::Terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_waits_while_the_inbox_table_is_missing() {
    let stage = Stage::set().await;
    let replica = stage.fixture.open(stage.recorder.clone()).await;
    let rename = async |rename| sqlx::query(rename).execute(&stage.fixture.pool).await.expect("renamed");
    rename("alter table messaging.inbox rename to elsewhere").await;
    let orders = orders(5);
    stage.raw_publisher.publish(&messages(&orders)).await;
    replica.lacks("database", "messaging.inbox").await;
    rename("alter table messaging.elsewhere rename to inbox").await;
    for order in &orders {
        stage.fixture.takes_effect(*order, &[1]).await;
    }
    replica.stop().await;
    assert!(orders.iter().all(|order| stage.recorder.tries(*order) == 1), "no message was at fault");
    stage.is_clean().await;
}
