//! The number of statements does not grow with the batch.
#![expect(clippy::disallowed_methods, reason = "the connections are no pool's")]

use crate::shop::{Shop, order_of, place_at};
use contracts::{Envelope, OrderId, StockReserved};
use messaging::Reaction;
use messaging::RetryDelays;
use sqlx::{Connection, PgConnection};
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{confirmed, envelope, new_order, placed};
use testkit::fixture::ServiceFixture;
use testkit::raw_publisher::RawPublisher;

const LARGE: usize = 100;
/// One to get warm, one to count, one that keeps the consumer busy while a large batch gathers, and that batch.
const MESSAGES: usize = 3 + LARGE;

/// Reads the statistics of the service's own statements, and of nothing that this test does itself.
struct Counter {
    admin: PgConnection,
    service: Service,
}

impl Counter {
    async fn open(world: &World, service: Service) -> Self {
        let mut admin = PgConnection::connect(&world.admin_database_url(service.as_str()).await)
            .await
            .expect("Postgres answers");
        sqlx::query("create extension if not exists pg_stat_statements")
            .execute(&mut admin)
            .await
            .expect("pg_stat_statements is preloaded");
        // It forgets what is rare once it is full, and every test's database fills it.
        sqlx::query("select pg_stat_statements_reset()").execute(&mut admin).await.expect("reset");
        Self { admin, service }
    }

    async fn statements(&mut self) -> i64 {
        sqlx::query_scalar(
            "select coalesce(sum(calls), 0)::bigint from pg_stat_statements
             where dbid = (select oid from pg_database where datname = current_database())
             and userid = (select oid from pg_roles where rolname = $1)
             -- The look for failed messages is of no batch.
             and query not like '%unfinished + %'",
        )
        .bind(self.service.as_str())
        .fetch_one(&mut self.admin)
        .await
        .expect("a number")
    }

    async fn inbox(&mut self) -> i64 {
        sqlx::query_scalar("select count(*) from messaging.inbox")
            .fetch_one(&mut self.admin)
            .await
            .expect("a number")
    }

    /// Sessions of the service that are not idle: their last statement may not be counted yet.
    async fn busy(&mut self) -> i64 {
        sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and usename = $1 and state <> 'idle'",
        )
        .bind(self.service.as_str())
        .fetch_one(&mut self.admin)
        .await
        .expect("a number")
    }

    /// Waits until so many messages are in effect, and gives the statements by then.
    async fn after(&mut self, messages: i64) -> i64 {
        eventually(&format!("{messages} in effect"), async || {
            let seen = (self.inbox().await, self.busy().await);
            if seen == (messages, 0) { Ok(()) } else { Err(seen) }
        })
        .await;
        self.statements().await
    }
}

/// Compares a batch of one with one of a hundred; its consumer is all that uses the database.
async fn check<R: Reaction>(world: &World, service: Service, reaction: R, messages: Vec<Envelope>) {
    assert_eq!(messages.len(), MESSAGES);
    let fixture = ServiceFixture::take(world, service, &RetryDelays::default()).await;
    let (raw_publisher, mut counter) = (RawPublisher::open(world).await, Counter::open(world, service).await);
    raw_publisher.purge(&fixture.events_queue()).await;
    let before = counter.inbox().await;
    let consumer = fixture.consume(reaction).await;

    raw_publisher.publish(&messages[..1]).await;
    let warm = counter.after(before + 1).await;
    raw_publisher.publish(&messages[1..2]).await;
    let one = counter.after(before + 2).await - warm;

    let mut gate =
        PgConnection::connect(&world.admin_database_url(service.as_str()).await).await.expect("Postgres");
    let mut lock = gate.begin().await.expect("a transaction");
    sqlx::query("lock table messaging.inbox in exclusive mode").execute(&mut *lock).await.expect("a lock");
    raw_publisher.publish(&messages[2..3]).await;
    raw_publisher.holds(&fixture.events_queue(), 0).await;
    raw_publisher.flood(&messages[3..]).await;
    raw_publisher.holds(&fixture.events_queue(), 0).await;
    lock.rollback().await.expect("unlocked");
    let all = counter.after(before + i64::try_from(MESSAGES).expect("few")).await - warm;
    consumer.stop().await;

    // What is still on its way when the gate opens makes a batch more.
    let batches = (all - one) / one;
    assert!(one > 3, "{service}: begin, inbox, commit and more, but {one}");
    assert_eq!((all - one) % one, 0, "{service}: a batch takes as many statements as any other");
    assert!(batches < 10, "{service}: {batches} batches of {one} statements for {LARGE} messages");
}

fn per_order(orders: &[OrderId], message: impl Fn(OrderId) -> Envelope) -> Vec<Envelope> {
    orders.iter().map(|order| message(*order)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_of_100_takes_as_many_statements_as_one() {
    let mut shop = Shop::open().await;
    shop.stock("BEANS", 1000).await;
    // Nobody is to answer, and nobody else is to use the databases.
    for service in Service::ALL.iter().copied().filter(|service| *service != Service::Order) {
        shop.stop(service).await;
    }
    let mut known = Vec::new();
    for _ in 0..MESSAGES {
        known.push(place(&shop[Service::Order]).await);
    }
    shop.stop(Service::Order).await;
    let world = &shop.world;

    let unknown: Vec<_> = (0..MESSAGES).map(|_| new_order()).collect();
    let reserved = |order_id| envelope(StockReserved { order_id, lines: Vec::new() }, 1);
    let confirmed = |order_id| envelope(confirmed(order_id), 2);
    let placed = |order_id| envelope(placed(order_id, "BEANS", 1), 1);
    check(world, Service::Order, order::reactions::Reactions::default(), per_order(&known, reserved)).await;
    check(world, Service::Payment, payment::reactions::Reactions, per_order(&unknown, placed)).await;
    check(world, Service::Inventory, inventory::reactions::Reactions, per_order(&unknown, placed)).await;
    check(world, Service::Notification, notification::reactions::Reactions, per_order(&unknown, confirmed))
        .await;
}

async fn place(service: &testkit::Running) -> OrderId {
    let order = place_at(service, &order_of("BEANS", 1, "pm_card_visa")).await;
    serde_json::from_value(order["id"].clone()).expect("an id")
}
