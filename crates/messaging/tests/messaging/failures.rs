//! The failure policy of the consumer: which failures wait, which are repeated, which schedule a retry.

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
        let world = World::new().await;
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

    /// Nothing waits, and nothing is a dead letter.
    async fn is_clean(&self) {
        self.raw_publisher.holds(&self.fixture.events_queue(), 0).await;
        self.fixture.has_no_failed_message().await;
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

    let [dead] = <[_; 1]>::try_from(stage.fixture.dead_letters(1).await).expect("one");
    assert!(dead.reason.contains(reason), "{dead:?}");
    assert_eq!((dead.source.as_str(), dead.class.as_str()), ("inventory.events", "failed"));
    assert_eq!(dead.attempts, 4, "the first and one for each of three retry delays");
    let envelope = Envelope::from_json(&dead.body).expect("untouched");
    assert_eq!(envelope.event.order_id(), Some(failing));
    assert_eq!(dead.message_id, Some(envelope.id.to_string()));

    for order in orders.iter().filter(|order| **order != failing) {
        stage.fixture.takes_effect(*order, &[1]).await;
    }
    replica.stop().await;
    assert!(stage.fixture.effects(failing).await.is_empty());
    assert_eq!(stage.fixture.count("select count(*) from messaging.inbox").await, 10, "nine and the first");
    stage.raw_publisher.holds(&stage.fixture.events_queue(), 0).await;
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
async fn attempts_are_counted_with_the_message() {
    // Retry delays longer than the test looks at a message.
    let delays = "10m,20m".parse().expect("delays");
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &delays).await;
    let (raw_publisher, recorder, order) =
        (RawPublisher::open(&world).await, Recorder::default(), new_order());
    recorder.fail(order, vec![Fault::InvalidTransition; 3]);
    let replica = fixture.open(recorder.clone()).await;
    let message = envelope(placed(order, "BEANS", 1), 1);
    raw_publisher.publish(std::slice::from_ref(&message)).await;

    for attempts in 1..=2 {
        let failed = eventually(&format!("{attempts} attempts"), async || {
            let waiting = fixture.retries(1).await;
            if waiting[0].attempts == attempts { Ok(waiting) } else { Err(waiting) }
        })
        .await;
        assert_eq!(failed[0].body, message.to_json().expect("JSON").into_bytes());
        let wait = failed[0].due_at.expect("a time") - failed[0].failed_at;
        assert_eq!(wait.num_minutes(), i64::from(attempts) * 10);
        // Delivered again, as after a lost acknowledgement, it is still one.
        make_due(&fixture).await;
    }
    assert_eq!(fixture.dead_letters(1).await[0].attempts, 3);
    // The fourth attempt succeeds.
    make_due(&fixture).await;
    fixture.takes_effect(order, &[1]).await;
    replica.stop().await;
    fixture.has_no_failed_message().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_that_is_delivered_again_is_one() {
    let delays = "10m".parse().expect("delays");
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &delays).await;
    let (raw_publisher, recorder, order) =
        (RawPublisher::open(&world).await, Recorder::default(), new_order());
    recorder.fail(order, vec![Fault::InvalidTransition; 2]);
    let replica = fixture.open(recorder.clone()).await;
    let message = envelope(placed(order, "BEANS", 1), 1);
    for tries in 1..=2 {
        raw_publisher.publish(std::slice::from_ref(&message)).await;
        eventually("a try", async || if recorder.tries(order) == tries { Ok(()) } else { Err("none") }).await;
        fixture.retries(1).await;
    }
    // Meanwhile the cause is gone. The delivery takes effect, and the retry finds it in the inbox.
    raw_publisher.publish(std::slice::from_ref(&message)).await;
    fixture.takes_effect(order, &[1]).await;
    make_due(&fixture).await;
    fixture.retries(0).await;
    replica.stop().await;
    assert_eq!(fixture.effects(order).await, [1]);
    fixture.has_no_failed_message().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_in_which_the_process_dies_counts() {
    let delays = "10m".parse().expect("delays");
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &delays).await;
    let (raw_publisher, recorder, order) =
        (RawPublisher::open(&world).await, Recorder::default(), new_order());
    recorder.fail(order, [Fault::InvalidTransition]);
    raw_publisher.publish(&messages(&[order])).await;
    let replica = fixture.open(recorder.clone()).await;
    fixture.retries(1).await;
    replica.stop().await;

    make_due(&fixture).await;
    let lock = fixture.lock("effects").await;
    // Each attempt is in progress for as long as its process lives.
    for attempt in 1..=3 {
        let replica = fixture.open(recorder.clone()).await;
        eventually("an attempt", async || {
            let tries = recorder.tries(order);
            if tries > attempt { Ok(()) } else { Err(tries) }
        })
        .await;
        replica.kill().await;
    }
    lock.rollback().await.expect("unlocked");
    let replica = fixture.open(recorder.clone()).await;
    let dead = fixture.dead_letters(1).await;
    assert_eq!(dead[0].reason, "the process died in each of 3 attempts");
    assert_eq!(dead[0].attempts, 1, "of those that ended");
    assert!(fixture.effects(order).await.is_empty());
    replica.stop().await;
}

async fn make_due(fixture: &ServiceFixture) {
    let update = sqlx::query("update messaging.failed_messages set due_at = now()");
    update.execute(&fixture.pool).await.expect("due");
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
