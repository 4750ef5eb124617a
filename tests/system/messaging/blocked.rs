//! A broker that blocks publishers, on a broker of the test's own: the alarm stops everybody on it.

use events::Service;
use harness::World;
use harness::world::Servers;
use stack::{RabbitMq, RabbitMqPorts};
use tempfile::TempDir;

use super::bench::{Seat, short_delays};
use super::facts::{envelope, new_order, placed, reserved};
use super::inlet::Inlet;
use super::recorder::{Fault, Recorder};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_blocks_publishers_consumers_go_on_and_the_relay_waits() {
    let folder = TempDir::new().expect("a folder");
    let broker =
        RabbitMq::start(folder.path(), RabbitMqPorts::free().expect("ports")).await.expect("a broker");
    let servers =
        Servers { amqp: broker.admin_url(), management: broker.admin_management_url(), ..Servers::shared() };
    let world = World::with(servers, &short_delays()).await;
    let seat = Seat::take(&world, Service::Inventory, &short_delays()).await;
    let inlet = Inlet::open(&world).await;
    // More than one consumer can take at once: some wait for it on the broker.
    let messages: Vec<_> = (0..300).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    inlet.publish(&messages).await;
    drop(inlet);
    // The last of them fails, and cannot be put aside.
    let (recorder, failing) = (Recorder::default(), messages[299].event.order_id().expect("an order"));
    recorder.fail(failing, [Fault::Impossible]);

    broker.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await.expect("an alarm");
    let replica = seat.start(recorder.clone());
    seat.announce(&replica.node.outbox, reserved(new_order(), 1)).await;
    replica.lacks("publishing", "blocked by the broker").await;
    harness::eventually("299 effects", async || {
        let effects = seat.count("select count(*) from effects").await;
        if effects == 299 { Ok(()) } else { Err(effects) }
    })
    .await;
    assert_eq!(seat.count("select count(*) from messaging.outbox").await, 1);
    replica.stop().await;

    broker.control(&["set_vm_memory_high_watermark", "0.4"]).await.expect("no alarm");
    let replica = seat.open(recorder).await;
    seat.outbox_empties().await;
    seat.takes_effect(failing, &[1]).await;
    replica.stop().await;
}
