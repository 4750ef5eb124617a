//! A broker that blocks publishers: one of the test's own, since the alarm stops every publisher on it.

use devstack::{RabbitMq, RabbitMqPorts};
use system::Service;
use tempfile::TempDir;
use testkit::World;
use testkit::world::Servers;

use testkit::facts::{envelope, new_order, placed, reserved};
use testkit::fixture::{ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

#[tokio::test(flavor = "multi_thread")]
async fn consumers_continue_while_the_broker_blocks_publishers() {
    let folder = TempDir::new().expect("a folder");
    let broker =
        RabbitMq::start(folder.path(), RabbitMqPorts::free().expect("ports")).await.expect("a broker");
    let servers =
        Servers { amqp: broker.admin_url(), management: broker.admin_management_url(), ..Servers::shared() };
    let world = World::with(servers).await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let raw_publisher = RawPublisher::open(&world).await;
    // More than one consumer prefetches: some wait on the broker.
    let messages: Vec<_> = (0..300).map(|_| envelope(placed(new_order(), "BEANS", 1), 1)).collect();
    raw_publisher.publish(&messages).await;
    drop(raw_publisher);
    // The last of them fails, and its retry cannot be scheduled.
    let (recorder, failing) = (Recorder::default(), messages[299].event.order_id().expect("an order"));
    recorder.fail(failing, [Fault::InvalidTransition]);

    broker.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await.expect("an alarm");
    let replica = fixture.start(recorder.clone());
    fixture.publish(&replica.host.unit_of_work, reserved(new_order(), 1)).await;
    replica.lacks("publishing", "blocked by the broker").await;
    testkit::eventually("299 effects", async || {
        let effects = fixture.count("select count(*) from effects").await;
        if effects == 299 { Ok(()) } else { Err(effects) }
    })
    .await;
    assert_eq!(fixture.count("select count(*) from messaging.outbox").await, 1);
    replica.stop().await;

    broker.control(&["set_vm_memory_high_watermark", "0.4"]).await.expect("no alarm");
    let replica = fixture.open(recorder).await;
    fixture.outbox_empties().await;
    fixture.takes_effect(failing, &[1]).await;
    replica.stop().await;
}
