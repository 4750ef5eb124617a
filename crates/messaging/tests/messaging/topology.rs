//! The topology and permissions of the broker, and how a service reports that something is missing.

use amqp::permissions::TOPOLOGY_USER;
use amqp::topology::{EVENT_STREAM, Topology};
use amqp::{BrokerError, apply_topology};
use futures::future::BoxFuture;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use runtime::tasks::Tasks;
use system::Service;
use testkit::world::Servers;
use testkit::{World, eventually};

use testkit::facts::{envelope, new_order, placed, reserved};
use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::Recorder;

async fn apply(world: &World) -> Result<(), BrokerError> {
    apply_topology(&world.amqp_url(TOPOLOGY_USER), &system::topology()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_was_removed_comes_back() {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let (raw_publisher, replica) =
        (RawPublisher::open(&world).await, fixture.open(Recorder::default()).await);
    raw_publisher
        .0
        .queue_unbind(
            fixture.events_queue().as_str().into(),
            "domain.events".into(),
            "order.placed".into(),
            FieldTable::default(),
        )
        .await
        .expect("unbound");
    let order = new_order();
    let event = envelope(placed(order, "BEANS", 1), 1);
    eventually("the binding", async || {
        raw_publisher.publish(std::slice::from_ref(&event)).await;
        if fixture.effects(order).await == [1] { Ok(()) } else { Err("missing") }
    })
    .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binding_of_the_stream_comes_back() {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Analytics, &short_delays()).await;
    let (raw_publisher, host) = (RawPublisher::open(&world).await, fixture.node());
    let mut tasks = Tasks::new(host.shutdown.clone());
    host.start_reader(&mut tasks, Recorder::default());
    let replica = Replica::of(host, tasks);
    replica.ready().await;
    let all = ("domain.events".into(), "#".into());
    let unbound =
        raw_publisher.0.queue_unbind(EVENT_STREAM.into(), all.0, all.1, FieldTable::default()).await;
    unbound.expect("unbound");
    let order = new_order();
    let event = envelope(placed(order, "BEANS", 1), 1);
    eventually("the binding", async || {
        raw_publisher.publish(std::slice::from_ref(&event)).await;
        if fixture.effects(order).await == [1] { Ok(()) } else { Err("missing") }
    })
    .await;
    replica.stop().await;
}

/// A queue is on the broker already, with another value for the argument.
async fn check_mismatch(queue: &str, argument: &str, ours: &str, theirs: AMQPValue, shown: &str) {
    let world = World::bare(Servers::shared()).await;
    let raw_publisher = RawPublisher::open(&world).await;
    let topology = system::topology();
    let wanted = topology.queues.iter().find(|wanted| wanted.name == queue).expect("a queue");
    let mut arguments = wanted.table();
    arguments.insert(argument.into(), theirs);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    raw_publisher.0.queue_declare(queue.into(), durable, arguments).await.expect("declared");

    let error = apply(&world).await.expect_err("a mismatch");
    let text = error.to_string();
    assert!(matches!(error, BrokerError::Mismatch(_)), "{text}");
    for part in [queue, argument, ours, shown] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mismatch_names_queue_argument_and_both_values() {
    check_mismatch("inventory.events", "x-delivery-limit", "50", AMQPValue::LongLongInt(7), "7").await;
    check_mismatch(
        "payment.events",
        "x-dead-letter-routing-key",
        "payment.dead-letters",
        AMQPValue::LongString("elsewhere".into()),
        "elsewhere",
    )
    .await;
    check_mismatch("domain-events.log", "x-max-age", "30D", AMQPValue::LongString("1D".into()), "1D").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_does_not_start_on_a_mismatched_queue() {
    let world = World::bare(Servers::shared()).await;
    let raw_publisher = RawPublisher::open(&world).await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    raw_publisher
        .0
        .queue_declare("inventory.events".into(), durable, FieldTable::default())
        .await
        .expect("declared");
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let error = fixture.start(Recorder::default()).ended().await.expect_err("a mismatch");
    let text = format!("{error:#}");
    assert!(text.contains("inventory.events") && text.contains("inequivalent arg"), "{text}");
    assert!(text.contains("sagactl topology apply"), "says what to do: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unroutable_event_stays_in_the_outbox() {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let (raw_publisher, replica, order) =
        (RawPublisher::open(&world).await, fixture.open(Recorder::default()).await, new_order());
    for (queue, key) in [(EVENT_STREAM, "#"), ("order.events", "stock.reserved")] {
        let arguments = FieldTable::default();
        let unbound =
            raw_publisher.0.queue_unbind(queue.into(), "domain.events".into(), key.into(), arguments).await;
        unbound.expect("unbound");
    }
    fixture.publish(&replica.host.unit_of_work, reserved(order, 1)).await;
    eventually("a held event", async || {
        let held = fixture
            .count("select count(*) from messaging.outbox where reason like 'no queue is bound%'")
            .await;
        if held == 1 { Ok(()) } else { Err(held) }
    })
    .await;

    apply(&world).await.expect("applied");
    let arrived = raw_publisher.take("order.events").await;
    let event = contracts::Envelope::from_json(&arrived.body).expect("an event");
    assert_eq!(event.event.order_id(), Some(order));
    replica.ready().await;
    fixture.outbox_empties().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_that_the_stream_would_miss() {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let (raw_publisher, order) = (RawPublisher::open(&world).await, new_order());
    // As just after the broker's start, when queues are available and streams are not.
    raw_publisher.0.queue_delete(EVENT_STREAM.into(), QueueDeleteOptions::default()).await.expect("deleted");
    let replica = fixture.start(Recorder::default());
    fixture.publish(&replica.host.unit_of_work, reserved(order, 1)).await;
    replica.lacks("relay", EVENT_STREAM).await;
    replica.lacks("relay", "sagactl topology apply").await;
    // As in the middle of what `sagactl topology apply` does.
    let marker = system::topology().marker.expect("a marker");
    let deleted =
        raw_publisher.0.exchange_delete(marker.as_str().into(), ExchangeDeleteOptions::default()).await;
    deleted.expect("deleted");
    let unbound = Topology { bindings: Vec::new(), ..Topology::event_stream() };
    unbound.declare(&raw_publisher.0).await.expect("declared");
    replica.lacks("relay", &marker).await;
    assert_eq!(raw_publisher.depth("order.events").await, 0);
    assert_eq!(fixture.count("select count(*) from messaging.outbox").await, 1);

    apply(&world).await.expect("applied");
    replica.ready().await;
    let arrived = raw_publisher.take("order.events").await;
    let logged = raw_publisher.first_in_the_log().await;
    assert_eq!(arrived.body, logged, "the queue and the stream hold the same event");
    fixture.outbox_empties().await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leading_relay_notices_that_the_stream_is_gone() {
    let world = World::new().await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let (raw_publisher, replica) =
        (RawPublisher::open(&world).await, fixture.open(Recorder::default()).await);
    raw_publisher.0.queue_delete(EVENT_STREAM.into(), QueueDeleteOptions::default()).await.expect("deleted");
    replica.lacks("relay", "sagactl topology apply").await;
    apply(&world).await.expect("applied");
    replica.ready().await;
    replica.stop().await;
}

type Attempt = for<'a> fn(&'a Channel) -> BoxFuture<'a, lapin::Result<()>>;

/// What a user of the system tries, and whether the broker lets it.
async fn check_right(world: &World, user: &str, allowed: bool, what: &str, attempt: Attempt) {
    let url = world.amqp_url(user);
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    match attempt(&channel).await {
        Ok(()) => assert!(allowed, "{user} may {what}"),
        Err(error) => {
            assert!(!allowed, "{user} may not {what}: {error}");
            assert!(error.to_string().contains("ACCESS_REFUSED"), "{user}, {what}: {error}");
        }
    }
}

async fn publish(channel: &Channel, exchange: &str, key: &str) -> lapin::Result<()> {
    let options = BasicPublishOptions::default();
    let confirm = channel
        .basic_publish(exchange.into(), key.into(), options, b"{}", BasicProperties::default())
        .await?;
    confirm.await?;
    Ok(())
}

async fn read(channel: &Channel, queue: &str) -> lapin::Result<()> {
    channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    Ok(())
}

async fn bind(channel: &Channel, key: &str) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    let (queue, exchange) = ("inventory.events", "domain.events");
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await
}

async fn declare(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, FieldTable::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_can_do_only_what_their_permissions_say() {
    let world = World::new().await;
    let rights: [(&str, bool, &str, Attempt); 13] = [
        ("inventory", true, "publish what it owns", |c| {
            Box::pin(publish(c, "domain.events", "stock.reserved"))
        }),
        ("inventory", false, "publish what another owns", |c| {
            Box::pin(publish(c, "domain.events", "order.placed"))
        }),
        ("inventory", false, "write into a queue", |c| Box::pin(publish(c, "", "order.events"))),
        ("inventory", false, "write into its own queue by the default exchange", |c| {
            Box::pin(publish(c, "", "inventory.events"))
        }),
        ("inventory", true, "dead-letter", |c| {
            Box::pin(publish(c, "inventory.own", "inventory.dead-letters"))
        }),
        ("inventory", false, "dead-letter for another", |c| {
            Box::pin(publish(c, "order.own", "order.dead-letters"))
        }),
        ("inventory", true, "read its queue", |c| Box::pin(read(c, "inventory.events"))),
        ("inventory", false, "read another's queue", |c| Box::pin(read(c, "order.events"))),
        ("inventory", false, "bind what it does not subscribe to", |c| Box::pin(bind(c, "payment.captured"))),
        ("inventory", false, "make a queue of another's", |c| Box::pin(declare(c, "order.more"))),
        ("analytics", false, "read a queue", |c| Box::pin(read(c, "inventory.events"))),
        ("analytics", false, "publish anything", |c| Box::pin(publish(c, "domain.events", "stock.reserved"))),
        ("analytics", false, "make a queue", |c| Box::pin(declare(c, "analytics.events"))),
    ];
    for (user, allowed, what, attempt) in rights {
        check_right(&world, user, allowed, what, attempt).await;
    }
}
