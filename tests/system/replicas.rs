//! Two replicas of one service at the same aggregates at the same moment.

use contracts::{Envelope, OrderId};
use inventory::reactions::Reactions;
use messaging::RetryDelays;
use system::Service;
use testkit::{World, eventually};

use testkit::facts::{cancelled, confirmed, envelope, new_order, placed};
use testkit::fixture::ServiceFixture;
use testkit::raw_publisher::RawPublisher;

const SKUS: [&str; 3] = ["BEANS", "CUP", "FILTER"];
const STOCK: i64 = 1000;
const ORDERS: usize = 30;
const ROUNDS: usize = 3;

async fn fixture(world: &World, delays: &RetryDelays) -> ServiceFixture {
    let fixture = ServiceFixture::take(world, Service::Inventory, delays).await;
    runtime::database::migrate(&fixture.pool, &inventory::store::MIGRATIONS).await.expect("migrated");
    for insert in [
        "insert into products (sku, name, price_minor, currency, version)
         select sku, sku, 1000, 'EUR', 1 from unnest($1::text[]) as new (sku)",
        "insert into stock (sku, on_hand) select sku, 1000 from unnest($1::text[]) as new (sku)",
        "insert into stock_movements (sku, kind, on_hand_delta, reserved_delta)
         select sku, 'restocked', 1000, 0 from unnest($1::text[]) as new (sku)",
    ] {
        sqlx::query(insert).bind(SKUS.as_slice()).execute(&fixture.pool).await.expect("stocked");
    }
    fixture
}

fn placements(orders: &[OrderId]) -> Vec<Envelope> {
    orders.iter().zip(SKUS.iter().cycle()).map(|(order, sku)| envelope(placed(*order, sku, 2), 1)).collect()
}

fn confirmations(orders: &[OrderId]) -> Vec<Envelope> {
    orders.iter().map(|order| envelope(confirmed(*order), 2)).collect()
}

/// The given events in order and the orders' cancellations from the last to the first, taking turns, so that of two
/// replicas one gets the former and one the latter.
fn crossing(orders: &[OrderId], others: Vec<Envelope>) -> Vec<Envelope> {
    let cancellations = orders.iter().rev().map(|order| envelope(cancelled(*order), 3));
    others.into_iter().zip(cancellations).flat_map(<[_; 2]>::from).collect()
}

/// Waits until so many messages are in effect.
async fn consumed(fixture: &ServiceFixture, messages: usize) {
    let messages = i64::try_from(messages).expect("few");
    eventually("everything consumed", async || {
        let seen = fixture.count("select count(*) from messaging.inbox").await;
        if seen == messages { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_consuming_orders_crosswise_agree_without_lost_attempts() {
    // A failed message stays where the test sees it.
    let delays = "10m".parse().expect("delays");
    let world = World::new().await;
    let (fixture, raw_publisher) = (fixture(&world, &delays).await, RawPublisher::open(&world).await);
    let replicas = [fixture.open(Reactions).await, fixture.open(Reactions).await];
    for round in 0..ROUNDS {
        let known: Vec<_> = (0..ORDERS).map(|_| new_order()).collect();
        let unknown: Vec<_> = (0..ORDERS).map(|_| new_order()).collect();
        raw_publisher.flood(&placements(&known)).await;
        consumed(&fixture, 5 * ORDERS * round + ORDERS).await;
        for events in [crossing(&known, confirmations(&known)), crossing(&unknown, placements(&unknown))] {
            // Neither replica begins before both have their share.
            let lock = fixture.lock("messaging.inbox").await;
            raw_publisher.flood(&events).await;
            raw_publisher.holds(&fixture.events_queue(), 0).await;
            lock.rollback().await.expect("unlocked");
            // The same ids again, to both and the other way round.
            let again: Vec<_> = events.into_iter().rev().collect();
            raw_publisher.flood(&again).await;
            raw_publisher.flood(&again[1..]).await;
        }
        consumed(&fixture, 5 * ORDERS * (round + 1)).await;
    }
    // The repeats are acknowledged in the end: the broker counts those in hand, too, but only every few seconds.
    let path = format!("/api/queues/{}/{}", world.name, fixture.events_queue());
    eventually("every message acknowledged", async || {
        let (_, queue) = world.management("GET", &path, None).await;
        if queue["messages"] == 0 { Ok(()) } else { Err(queue["messages"].clone()) }
    })
    .await;
    for replica in replicas {
        replica.ready().await;
        replica.stop().await;
    }

    let released = "select count(*) from reservations where status = 'released' and version <= 3";
    let orders = i64::try_from(2 * ORDERS * ROUNDS).expect("few");
    assert_eq!(fixture.count(released).await, orders, "no tombstone was overwritten");
    let whole = "select count(*) from stock where on_hand = 1000 and reserved = 0";
    assert_eq!(fixture.count(whole).await, 3, "all of {STOCK} is back");
    let open = "select coalesce(sum(reserved_delta), 0)::bigint from stock_movements";
    assert_eq!(fixture.count(open).await, 0, "the ledger says so too");
    // In the events queue may still be repeats, which the stop gave back before the broker had counted them.
    fixture.has_no_failed_message().await;
}
