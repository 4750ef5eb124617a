//! Clients that send heads and bodies a byte at a time cost nobody else a place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::shop::{Shop, order_of};
use futures::future::join_all;
use serde_json::json;
use system::Service;
use testkit::eventually;
use testkit::running::answer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// More than orders may be placed at once.
const BODIES_AT_ORDER: usize = 300;
/// More than inventory handles at once.
const BODIES_AT_INVENTORY: usize = 100;
const HEADS_AT_ORDER: usize = 100;
const ALL: usize = BODIES_AT_ORDER + BODIES_AT_INVENTORY + HEADS_AT_ORDER;
const BEFORE_A_BODY: &str =
    "HTTP/1.1\r\nHost: it\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
const BYTE_INTERVAL: Duration = Duration::from_millis(200);
const ORDERS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_accepted_while_500_clients_trickle() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 1_000).await;
    let (order, inventory) = (&shop[Service::Order].url, &shop[Service::Inventory].url);
    let (connected, over) = (&AtomicUsize::new(0), &CancellationToken::new());
    let slow = |url: &str, request: String, count: usize| {
        let address = url.trim_start_matches("http://").to_owned();
        join_all((0..count).map(move |_| trickle(address.clone(), request.clone(), connected, over)))
    };
    let customers = async {
        eventually("every slow client", async || {
            let count = connected.load(Ordering::Relaxed);
            if count >= ALL { Ok(()) } else { Err(count) }
        })
        .await;
        for number in 0..ORDERS {
            let product = json!({"name": "Tea", "price": {"amount_minor": 100, "currency": "EUR"}});
            assert_eq!(shop.list(&format!("TEA-{number}"), &product).await.0, 201);
            let place =
                shop[Service::Order].post("/api/v1/orders").json(&order_of("BEANS", 1, "pm_card_visa"));
            let (status, placed) = answer(place).await;
            assert_eq!(status, 202, "{placed}");
            shop.order_is(placed["id"].as_str().expect("an id"), "completed").await;
        }
        over.cancel();
    };
    tokio::join!(
        customers,
        slow(order, format!("POST /api/v1/orders {BEFORE_A_BODY}"), BODIES_AT_ORDER),
        slow(inventory, format!("PUT /api/v1/products/SLOW {BEFORE_A_BODY}"), BODIES_AT_INVENTORY),
        slow(order, "GET /api/v1/orders HTTP/1.1\r\nHost: it\r\nX-Slow: ".to_owned(), HEADS_AT_ORDER),
    );
    shop.check().await;
}

/// Sends the beginning of a request and then a byte at a time, over a new connection whenever the server has closed the
/// last one.
async fn trickle(address: String, request: String, connected: &AtomicUsize, over: &CancellationToken) {
    let mut bytes = interval(BYTE_INTERVAL);
    bytes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !over.is_cancelled() {
        bytes.tick().await;
        let Ok(mut stream) = TcpStream::connect(&address).await else { continue };
        if stream.write_all(request.as_bytes()).await.is_ok() {
            connected.fetch_add(1, Ordering::Relaxed);
        }
        while !over.is_cancelled() && stream.write_all(b"x").await.is_ok() {
            bytes.tick().await;
        }
    }
}
