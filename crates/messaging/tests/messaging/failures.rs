//! The failure branch: what is waited out, what is repeated, what is put aside.

use chrono::DateTime;
use contracts::{Envelope, OrderId};
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{envelope, new_order, placed};
use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

/// A world, a service in it that fails as told, and a way in.
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

    /// Nothing is left anywhere, and nothing was put aside for good.
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

/// One of ten messages fails in its own right until it is a dead letter.
async fn check_that_neighbours_pass(fault: Fault, reason: &str) {
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
async fn a_message_that_cannot_be_goes_to_the_dead_letters_and_its_neighbours_pass() {
    check_that_neighbours_pass(Fault::InvalidTransition, "is told to fail").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_breaks_a_constraint_goes_to_the_dead_letters_and_its_neighbours_pass() {
    check_that_neighbours_pass(Fault::Raise("23514"), "told to").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_makes_the_handler_panic_goes_to_the_dead_letters_and_its_neighbours_pass() {
    check_that_neighbours_pass(Fault::Panic, "panic: told to").await;
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
    // Rungs that hold a message for as long as the test looks at it.
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
        let aside = raw_publisher.take(&queue).await;
        assert_eq!(aside.header("x-attempts"), attempts.to_string(), "in {queue}");
        assert_eq!(aside.body, message.to_json().expect("JSON").into_bytes());
        raw_publisher
            .put_back(
                &aside,
                &amqp::topology::own_exchange(fixture.service.as_str()),
                &fixture.events_queue(),
            )
            .await;
        if queue == fixture.dead_letters() {
            break;
        }
    }
    // The fourth time nothing fails.
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
    // A retry delay would have been a detour through the events queue, and a batch more.
    assert_eq!(stage.recorder.tries(orders[1]), times + 1, "{state}");
    stage.is_clean().await;
    stage.batches()
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_is_repeated_and_costs_no_attempt() {
    for state in ["40P01", "40001", "55P03", "57014"] {
        let batches = check_that_contention_is_repeated(state, 3).await;
        assert!(batches.iter().all(|batch| batch.len() == 3), "{state} parted the batch: {batches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn contention_that_stays_parts_the_batch() {
    let batches = check_that_contention_is_repeated("40P01", 13).await;
    let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
    // The batch and ten repeats; then one by one, the second of them contended twice more.
    assert_eq!(sizes, [vec![3; 11], vec![1; 5]].concat());
}

/// The database is away for some tries: everything is held, then done once.
async fn check_that_the_work_is_held(fault: Fault) {
    let stage = Stage::set().await;
    let orders = orders(5);
    stage.recorder.fail(orders[2], vec![fault; 12]);
    let replica = stage.play(&orders).await;
    for order in &orders {
        stage.fixture.takes_effect(*order, &[1]).await;
    }
    eventually("readiness", async || if replica.host.health.is_ready() { Ok(()) } else { Err("not ready") })
        .await;
    replica.stop().await;
    assert_eq!(stage.recorder.tries(orders[2]), 13, "as a batch, over and over");
    assert!(stage.batches().iter().all(|batch| batch.len() == 5), "never parted: {:?}", stage.batches());
    stage.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_held_while_the_database_shuts_down() {
    check_that_the_work_is_held(Fault::Raise("57P01")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_held_when_the_session_is_ended_in_a_transaction() {
    check_that_the_work_is_held(Fault::Terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_held_while_the_database_is_not_what_it_should_be() {
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
