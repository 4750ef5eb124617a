//! The relay: order, succession of leaders, and cut connections.

use contracts::OrderId;
use devstack::NetworkFault;
use futures::future::join_all;
use messaging::{Effects, UnitOfWork};
use sqlx::PgPool;
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{envelope, new_order, reserved};
use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::recorder::Recorder;

/// A service that publishes, and one that consumes its events.
struct Stage {
    inventory: ServiceFixture,
    order: ServiceFixture,
    consumer: Replica,
    world: World,
}

impl Stage {
    async fn set() -> Self {
        let world = World::new().await;
        let inventory = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
        let order = ServiceFixture::take(&world, Service::Order, &short_delays()).await;
        let consumer = order.open(Recorder::default()).await;
        sqlx::query("create table counters (id uuid primary key, version bigint not null default 0)")
            .execute(&inventory.pool)
            .await
            .expect("a table");
        Self { inventory, order, consumer, world }
    }

    /// Publishes an event, through a unit of work that does not wake the relay.
    async fn publishes(&self) {
        let order = new_order();
        self.inventory.publish(&UnitOfWork::new(Service::Inventory.into()), reserved(order, 1)).await;
        self.order.takes_effect(order, &[1]).await;
    }

    /// Waits until a relay other than the given one leads, and returns its database session.
    async fn leader(&self, except: Option<i32>) -> i32 {
        eventually("a leader", async || {
            let pids: Vec<i32> = sqlx::query_scalar(
                "select backend_pid from messaging.leases join pg_stat_activity on pid = backend_pid
                 where name = 'relay' and until > now()",
            )
            .fetch_all(&self.inventory.pool)
            .await
            .expect("locks");
            match pids.as_slice() {
                [pid] if Some(*pid) != except => Ok(*pid),
                _ => Err(pids),
            }
        })
        .await
    }
}

/// Publishes the next version of the aggregate, as one of many writers.
async fn write(pool: &PgPool, unit_of_work: &UnitOfWork, aggregate: OrderId) {
    let mut tx = runtime::database::begin(pool).await.expect("a transaction");
    let version = sqlx::query_scalar(
        "insert into counters (id, version) values ($1, 1)
         on conflict (id) do update set version = counters.version + 1 returning version",
    )
    .bind(aggregate.0)
    .fetch_one(&mut *tx)
    .await
    .expect("a version");
    unit_of_work.commit(tx, Effects::publish(vec![reserved(aggregate, version)])).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_aggregate_keep_their_order() {
    let stage = Stage::set().await;
    let replica = stage.inventory.open(Recorder::default()).await;
    let aggregates: Vec<_> = (0..4).map(|_| new_order()).collect();
    let writers = (0..16).map(async |writer| {
        for round in 0..20 {
            let aggregate = aggregates[(writer + round) % aggregates.len()];
            write(&stage.inventory.pool, &replica.host.unit_of_work, aggregate).await;
        }
    });
    join_all(writers).await;
    let versions: Vec<i64> = (1..=80).collect();
    for aggregate in aggregates {
        stage.order.takes_effect(aggregate, &versions).await;
    }
    stage.inventory.outbox_empties().await;
    replica.stop().await;
    stage.consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_leads_after_the_leader_loses_its_connection() {
    let stage = Stage::set().await;
    let first = stage.inventory.open(Recorder::default()).await;
    let second = stage.inventory.open(Recorder::default()).await;
    let mut leader = stage.leader(None).await;
    for _ in 0..3 {
        stage.publishes().await;
        sqlx::query("select pg_terminate_backend($1)")
            .bind(leader)
            .execute(&stage.inventory.pool)
            .await
            .expect("terminated");
        leader = stage.leader(Some(leader)).await;
    }
    stage.publishes().await;
    for replica in [first, second, stage.consumer] {
        replica.ready().await;
        replica.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_leads_when_the_leader_is_killed() {
    let stage = Stage::set().await;
    let mut replica = stage.inventory.open(Recorder::default()).await;
    let mut leader = stage.leader(None).await;
    for _ in 0..3 {
        stage.publishes().await;
        let successor = stage.inventory.open(Recorder::default()).await;
        std::mem::replace(&mut replica, successor).kill().await;
        leader = stage.leader(Some(leader)).await;
    }
    stage.publishes().await;
    replica.stop().await;
    stage.consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_becomes_visible_late_is_published() {
    let stage = Stage::set().await;
    let replica = stage.inventory.open(Recorder::default()).await;
    let slow = new_order();
    let event = envelope(reserved(slow, 1).event, 1);
    let mut tx = runtime::database::begin(&stage.inventory.pool).await.expect("a transaction");
    sqlx::query(
        "insert into messaging.outbox (event_id, routing_key, subject, body)
         values ($1, 'stock.reserved', 'slow', $2)",
    )
    .bind(event.id)
    .bind(event.to_json().expect("JSON"))
    .execute(&mut *tx)
    .await
    .expect("written");
    // Their ids are higher, and they are published first.
    for _ in 0..3 {
        stage.publishes().await;
    }
    assert!(stage.order.effects(slow).await.is_empty());
    tx.commit().await.expect("committed");
    stage.order.takes_effect(slow, &[1]).await;
    stage.inventory.outbox_empties().await;
    replica.stop().await;
    stage.consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_and_double_nothing() {
    const WRITERS: usize = 8;
    let stage = Stage::set().await;
    let replica = stage.inventory.open(Recorder::default()).await;
    let cuts = async {
        let mut cut = 0;
        while cut < 12 {
            cut += stage.world.cut_connections(&["inventory", "order"]).await;
        }
    };
    let mut cuts = std::pin::pin!(cuts);
    let mut published = 0_i64;
    // Events flow for as long as connections are cut.
    loop {
        let round = join_all((0..WRITERS).map(async |_| {
            write(&stage.inventory.pool, &replica.host.unit_of_work, new_order()).await;
        }));
        let done = futures::join!(round, futures::future::poll_immediate(&mut cuts)).1;
        published += i64::try_from(WRITERS).expect("few");
        if done.is_some() {
            break;
        }
    }
    eventually("every published event in effect", async || {
        let consumed = stage.order.count("select count(*) from messaging.inbox").await;
        if consumed == published { Ok(()) } else { Err((consumed, published)) }
    })
    .await;
    stage.inventory.outbox_empties().await;
    replica.ready().await;
    stage.consumer.ready().await;
    replica.stop().await;
    stage.consumer.stop().await;
    assert_eq!(stage.order.count("select count(*) from effects").await, published);
    assert_eq!(stage.order.count("select count(distinct order_id) from effects").await, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_notices_a_blackholed_database() {
    let stage = Stage::set().await;
    let (fixture, proxy) = stage.inventory.behind_proxy().await;
    let replica = fixture.open(Recorder::default()).await;
    stage.publishes().await;
    proxy.inject(NetworkFault::Blackhole);
    replica.lacks("relay", "no answer within 5 s").await;
    proxy.restore();
    stage.publishes().await;
    replica.ready().await;
    replica.stop().await;
    stage.consumer.stop().await;
}

/// A relay that stops publishes what its process has written before, however short the time since its last poll is.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_empties_the_outbox() {
    let stage = Stage::set().await;
    for _ in 0..5 {
        let replica = stage.inventory.open(Recorder::default()).await;
        stage.leader(None).await;
        let order = new_order();
        // Without a wake-up: the relay finds it at its next poll, or when it stops.
        stage.inventory.publish(&UnitOfWork::new(Service::Inventory.into()), reserved(order, 1)).await;
        replica.stop().await;
        assert_eq!(stage.inventory.count("select count(*) from messaging.outbox").await, 0);
        stage.order.takes_effect(order, &[1]).await;
    }
}

/// Writes the event into the outbox under another routing key than that of its type.
async fn publishes_under(stage: &Stage, order: OrderId, version: i64, routing_key: &str) {
    let event = envelope(reserved(order, version).event, version);
    sqlx::query(
        "insert into messaging.outbox (event_id, routing_key, subject, body) values ($1, $2, $3, $4)",
    )
    .bind(event.id)
    .bind(routing_key)
    .bind(order.to_string())
    .bind(event.to_json().expect("JSON"))
    .execute(&stage.inventory.pool)
    .await
    .expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_broker_refuses_holds_up_its_subject_only() {
    let stage = Stage::set().await;
    let (refused, others) = (new_order(), [new_order(), new_order()]);
    // Inventory has no right to publish it, and is told so for its channel.
    publishes_under(&stage, refused, 1, "order.placed").await;
    publishes_under(&stage, refused, 2, "stock.reserved").await;
    for order in others {
        publishes_under(&stage, order, 1, "stock.reserved").await;
    }
    let replica = stage.inventory.open(Recorder::default()).await;
    for order in others {
        stage.order.takes_effect(order, &[1]).await;
    }
    stage.publishes().await;
    let held = eventually("a held event", async || {
        let held: Vec<(String, i32, String)> = sqlx::query_as(
            "select routing_key, attempts, reason from messaging.outbox where held_until is not null",
        )
        .fetch_all(&stage.inventory.pool)
        .await
        .expect("rows");
        if held.first().is_some_and(|(_, attempts, _)| *attempts > 1) { Ok(held) } else { Err(held) }
    })
    .await;
    let [(routing_key, _, reason)] = held.as_slice() else { panic!("{held:?}") };
    assert_eq!(routing_key, "order.placed");
    assert!(reason.contains("ACCESS_REFUSED") && reason.contains("order.placed"), "{reason}");
    assert!(stage.order.effects(refused).await.is_empty(), "what comes after it waits");
    eventually("a note", async || {
        let notes = replica.host.health.notes();
        if notes.get("outbox").is_some_and(|note| note.contains("ACCESS_REFUSED")) {
            Ok(())
        } else {
            Err(notes)
        }
    })
    .await;
    assert!(replica.host.health.all_up(), "the service does without it");

    // The cause is removed.
    let repaired =
        "update messaging.outbox set routing_key = 'stock.reserved' where routing_key = 'order.placed'";
    sqlx::query(repaired).execute(&stage.inventory.pool).await.expect("repaired");
    stage.order.takes_effect(refused, &[1, 2]).await;
    stage.inventory.outbox_empties().await;
    replica.stop().await;
    stage.consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_renew_its_lease_is_replaced_and_changes_nothing() {
    let stage = Stage::set().await;
    let frozen = "insert into messaging.leases (name, token, backend_pid, backend_start, until)
         select 'relay', 41, pid, backend_start, now() + interval '2 s'
         from pg_stat_activity where pid = pg_backend_pid()";
    let mut session = stage.inventory.pool.acquire().await.expect("a connection");
    sqlx::query(frozen).execute(&mut *session).await.expect("a leader");
    let replica = stage.inventory.open(Recorder::default()).await;
    stage.publishes().await;
    assert_eq!(stage.inventory.count("select token from messaging.leases where name = 'relay'").await, 42);

    // It is this one's turn to be frozen: another one leads when it wakes up.
    let order = new_order();
    let another = "update messaging.leases as lease
         set token = 43, backend_pid = session.pid, backend_start = session.backend_start,
             until = now() + interval '3 s'
         from pg_stat_activity as session where session.pid = pg_backend_pid()";
    sqlx::query(another).execute(&mut *session).await.expect("another leader");
    stage.inventory.publish(&replica.host.unit_of_work, reserved(order, 1)).await;
    replica.lacks("relay", "another replica leads as relay").await;
    assert!(stage.order.effects(order).await.is_empty());
    // The other one ends with its session.
    session.close().await.expect("closed");
    stage.order.takes_effect(order, &[1]).await;
    assert_eq!(stage.inventory.count("select token from messaging.leases where name = 'relay'").await, 44);
    stage.inventory.outbox_empties().await;
    replica.stop().await;
    stage.consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_never_comes_costs_a_connection_and_no_event() {
    let stage = Stage::set().await;
    let (fixture, proxy) = stage.inventory.behind_broker_proxy().await;
    let replica = fixture.open(Recorder::default()).await;
    stage.publishes().await;
    // What is published from now on never arrives, on a connection that nobody cuts.
    proxy.inject(NetworkFault::StaleConnections);
    stage.publishes().await;
    stage.inventory.outbox_empties().await;
    proxy.restore();
    replica.ready().await;
    replica.stop().await;
    stage.consumer.stop().await;
}
