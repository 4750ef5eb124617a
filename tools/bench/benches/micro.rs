//! The inner loops, one at a time, so that a later change can be compared: the envelope, what a service reacts with, and
//! the transaction of a batch. `scripts/bench --micro` runs them.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up is not run")]

use std::hint::black_box;

use bench::broker_limit;
use contracts::{Envelope, Event, Sku, samples::samples};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inventory::domain::{self, Reservation, Stock};
use inventory::reactions::Reactions;
use messaging::UnitOfWork;
use runtime::config::DatabaseConfig;
use sqlx::PgPool;
use system::Service;
use testkit::World;
use tokio::runtime::Runtime;

/// As much as is never used up.
const PLENTY: i64 = 1_000_000_000;

fn envelope(criterion: &mut Criterion) {
    let placed = broker_limit::placed(&"BENCH-1".parse().expect("a SKU"));
    let text = placed.to_json().expect("encodes");
    let mut group = criterion.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(&placed).to_json()));
    group
        .bench_function("decode", |bencher| bencher.iter(|| Envelope::from_json(black_box(text.as_bytes()))));
    group.finish();
}

fn react(criterion: &mut Criterion) {
    let sku: Sku = "BENCH-1".parse().expect("a SKU");
    let event = broker_limit::placed(&sku).event;
    let order_id = event.order_id().expect("an order's");
    let (placeholder, stock) = (Reservation::placeholder(order_id), plenty_of(&sku));
    criterion.bench_function("react/inventory to order.placed", |bencher| {
        bencher.iter(|| domain::react(black_box(&placeholder), &stock, black_box(&event)));
    });

    let order = order_that_waits_for_stock();
    let reserved = sample(|event| matches!(event, Event::StockReserved(_)));
    let moment = order::domain::Moment::without_outage(order.placed_at);
    criterion.bench_function("react/order to stock.reserved", |bencher| {
        bencher.iter(|| order::domain::react(black_box(&order), black_box(&reserved), 1, &moment));
    });
}

fn plenty_of(sku: &Sku) -> Stock {
    Stock([(sku.clone(), domain::Level { on_hand: PLENTY, reserved: 0 })].into())
}

fn sample(is_it: impl Fn(&Event) -> bool) -> Event {
    samples().into_iter().map(|sample| sample.event).find(is_it).expect("there is a sample of every event")
}

fn order_that_waits_for_stock() -> order::domain::Order {
    let Event::OrderPlaced(placed) = sample(|event| matches!(event, Event::OrderPlaced(_))) else {
        unreachable!("it was asked for")
    };
    let now = runtime::clock::now();
    let decision = now + std::time::Duration::from_secs(30);
    let deadlines = order::domain::Deadlines { decision, latest_decision: decision, capture: decision };
    let order = order::domain::Order::placed(placed, now, deadlines);
    let authorized = sample(|event| matches!(event, Event::PaymentAuthorized(_)));
    let moment = order::domain::Moment::without_outage(now);
    order::domain::react(&order, &authorized, 2, &moment).expect("it is valid").next
}

/// Inbox, reaction, outbox and commit, in the real database.
fn batch(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let sku: Sku = "BENCH-1".parse().expect("a SKU");
    // The database goes with its world.
    let (_world, pool) = runtime.block_on(database_of_inventory(&sku));
    let outbox = UnitOfWork::new(Service::Inventory.into());
    let mut group = criterion.benchmark_group("batch");
    for size in [1, 20, 100] {
        group.throughput(Throughput::Elements(size));
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |bencher, size| {
            bencher.to_async(&runtime).iter(async || {
                let batch = (0..*size).map(|_| broker_limit::placed(&sku)).collect();
                broker_limit::commit(&pool, &outbox, &Reactions, batch).await.expect("it commits");
            });
        });
    }
    group.finish();
}

async fn database_of_inventory(sku: &Sku) -> (World, PgPool) {
    let world = World::new().await;
    let url = world.database_url(Service::Inventory.as_str()).await;
    let pool = runtime::database::pool(&DatabaseConfig { url: url.into(), max_connections: 4 }, "bench")
        .expect("a URL");
    for migrations in [&messaging::MIGRATIONS, &inventory::store::MIGRATIONS] {
        runtime::database::migrate(&pool, migrations).await.expect("it migrates");
    }
    for statement in [
        "insert into products (sku, name, price_minor, currency, version) values ($1, $1, 1000, 'EUR', 1)",
        "insert into stock (sku, on_hand) values ($1, 1000000000)",
    ] {
        sqlx::query(statement).bind(sku.as_str()).execute(&pool).await.expect("there is stock");
    }
    (world, pool)
}

criterion_group!(benches, envelope, react, batch);
criterion_main!(benches);
