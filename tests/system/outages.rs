//! Outages under load: servers are restarted and killed, connections are cut, replicas come and go. Every order that
//! was taken ends as its books say, each effect once.
//!
//! Orders have ten minutes here: one whose event was lost would be stuck, and not be cancelled by its deadline.

mod deadlines;
mod load;

use std::collections::BTreeSet;
use std::mem::replace;
use system::Service;

use crate::shop::Shop;
use devstack::{Postgres, Shutdown};
use serde_json::Value;
use testkit::{Running, World, eventually, private};

use crate::outages::load::orders_during;

const NO_DEADLINE: [(&str, &str); 1] = [("ORDER_DEADLINE", "10m")];
const STOCK: i64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn broker_restarted_and_killed_five_times_loses_nothing() {
    let (mut rabbitmq, _folder, servers) = private::rabbitmq().await;
    let shop = open(World::with(servers).await).await;
    let topology = topology_of(&shop.world).await.expect("a topology");
    let ids = orders_during(&shop[Service::Order].url, async {
        for round in 0..5 {
            if round % 2 == 0 {
                rabbitmq.restart().await.expect("RabbitMQ starts again");
            } else {
                rabbitmq.process.kill().expect("it is killed");
                rabbitmq.resume().await.expect("RabbitMQ starts again");
            }
            eventually("the topology to be as it was", async || {
                let now = topology_of(&shop.world).await?;
                let changed: Vec<String> = now.symmetric_difference(&topology).cloned().collect();
                if changed.is_empty() { Ok(()) } else { Err(changed.join("; ")) }
            })
            .await;
        }
    })
    .await;
    settle(&shop, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_repeatedly_lose_nothing() {
    let shop = open(World::new().await).await;
    let ids = orders_during(&shop[Service::Order].url, async {
        let mut cut = 0;
        eventually("connections to cut", async || {
            cut += cut_connections(&shop.world).await;
            if cut >= 30 { Ok(()) } else { Err(cut) }
        })
        .await;
    })
    .await;
    settle(&shop, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_crashes_and_terminated_sessions_lose_nothing() {
    let (mut postgres, _folder, servers) = private::postgres().await;
    let shop = open(World::with(servers).await).await;
    let ids = orders_during(&shop[Service::Order].url, async {
        postgres.restart(Shutdown::Immediate).await.expect("Postgres starts again");
        let mut cut = 0;
        eventually("sessions to cut", async || {
            cut += cut_sessions(&postgres).await;
            if cut >= 100 { Ok(()) } else { Err(cut) }
        })
        .await;
        postgres.process.kill().expect("it is killed");
        postgres.resume().await.expect("Postgres starts again");
    })
    .await;
    settle(&shop, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_and_stopped_under_load_lose_nothing() {
    let mut shop = open(World::new().await).await;
    let replica = shop.start(Service::Order).await;
    replica.ready().await;
    let mut ids = Vec::new();
    for end in [End::Kill, End::Stop] {
        ids.extend(orders_during(&replica.url, replace_all(&mut shop, end)).await);
    }
    settle(&shop, &ids).await;
    replica.stop().await.expect("it ends well");
}

/// How a replica ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Kill,
    Stop,
}

impl End {
    async fn of(self, replica: Running) {
        match self {
            Self::Kill => replica.kill().await,
            Self::Stop => replica.stop().await.expect("it ends well"),
        }
    }
}

/// Gives every service a successor while it works, and ends it.
async fn replace_all(shop: &mut Shop, end: End) {
    for service in Service::ALL.iter().copied() {
        let successor = shop.start(service).await;
        end.of(replace(&mut shop[service], successor)).await;
    }
    for (_, service) in shop.programs() {
        service.ready().await;
    }
}

/// A shop whose orders have time, with beans for most of them and a single cup.
async fn open(world: World) -> Shop {
    let shop = Shop::open_in(world, &NO_DEADLINE).await;
    shop.stock("BEANS", STOCK).await;
    shop.stock("CUP", 1).await;
    shop
}

/// Waits until the books agree: those of the orders that were taken, and of no others.
async fn settle(shop: &Shop, taken: &[String]) {
    shop.check().await;
    let pool = shop.pool("order").await;
    let mut there: Vec<String> =
        sqlx::query_scalar("select id::text from orders").fetch_all(&pool).await.expect("orders");
    let mut taken = taken.to_vec();
    there.sort_unstable();
    taken.sort_unstable();
    assert_eq!(there, taken, "the orders that were taken are those that are there");
}

/// Every exchange, queue and binding of the world, as the broker lists them.
async fn topology_of(world: &World) -> Result<BTreeSet<String>, String> {
    const LISTS: [(&str, &[&str]); 3] = [
        ("exchanges", &["name", "type", "durable"]),
        ("queues", &["name", "type", "durable", "arguments"]),
        ("bindings", &["source", "destination", "routing_key"]),
    ];
    let mut lines = BTreeSet::new();
    for (list, fields) in LISTS {
        let (status, items) = world.management("GET", &format!("/api/{list}/{}", world.name), None).await;
        let items = items.as_array().ok_or_else(|| format!("{list}: {status}"))?;
        lines.extend(items.iter().map(|item| {
            let fields: Vec<String> = fields.iter().map(|field| item[*field].to_string()).collect();
            format!("{list}: {}", fields.join(" "))
        }));
    }
    Ok(lines)
}

/// Closes every connection into the world, and says how many those were.
async fn cut_connections(world: &World) -> usize {
    let (_, connections) = world.management("GET", "/api/connections", None).await;
    let mine =
        connections.as_array().into_iter().flatten().filter(|item| item["vhost"] == world.name.as_str());
    let mut cut = 0;
    for name in mine.filter_map(|item| item["name"].as_str()) {
        let path = format!("/api/connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
        let (status, _): (u16, Value) = world.management("DELETE", &path, None).await;
        cut += usize::from(status == 204);
    }
    cut
}

/// Ends every session of the server's but its own, and says how many those were.
async fn cut_sessions(postgres: &Postgres) -> usize {
    use sqlx::Connection as _;
    let mut admin = sqlx::PgConnection::connect(&postgres.superuser_url()).await.expect("Postgres answers");
    let ended: Vec<bool> = sqlx::query_scalar(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where backend_type = 'client backend' and pid <> pg_backend_pid()",
    )
    .fetch_all(&mut admin)
    .await
    .expect("they end");
    ended.len()
}
