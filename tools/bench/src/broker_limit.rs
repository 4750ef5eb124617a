//! What each part can do alone: the yardstick of the benchmark.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use contracts::{Envelope, Event, OrderId, Sku, samples::samples};
use runtime::clock;
use sqlx::PgPool;
use tokio::{task::JoinSet, time::Instant};

use amqp::config::BATCH;
use amqp::connection::connect;
use amqp::topology::{self, Topology};
use amqp::{ConfirmChannel, OutgoingMessage, Receiver, ReceiverConnection};
use messaging::consumer::commit_events;
use messaging::{Delivery, Reaction, UnitOfWork};

const QUEUE: &str = "calibration";
/// Confirms outstanding at once, as many as the relay has.
const WINDOW: usize = 256;
const HOPS: usize = 200;

/// An order of one line that was placed, as inventory consumes it; ids of its own each time.
#[must_use]
pub fn placed(sku: &Sku) -> Envelope {
    static SAMPLE: LazyLock<Option<Envelope>> =
        LazyLock::new(|| samples().into_iter().find(|sample| matches!(sample.event, Event::OrderPlaced(_))));
    #[expect(clippy::expect_used, reason = "there is a sample of every event, which tests see to")]
    let mut envelope = SAMPLE.clone().expect("a sample of order.placed");
    envelope.id = clock::new_id();
    if let Event::OrderPlaced(order) = &mut envelope.event {
        order.order_id = OrderId(clock::new_id());
        order.lines.truncate(1);
        order.lines.iter_mut().for_each(|line| line.sku.clone_from(sku));
    }
    envelope
}

/// The transaction of a consumer, on a batch of events that no broker brought.
pub async fn commit<R: Reaction<Event = Event>>(
    pool: &PgPool,
    unit_of_work: &UnitOfWork,
    reaction: &R,
    batch: Vec<Envelope>,
) -> anyhow::Result<()> {
    let queue = topology::events_queue(unit_of_work.service.as_str());
    let batch: Vec<_> = batch.into_iter().map(|envelope| Delivery::new(envelope, &queue)).collect();
    Ok(commit_events(pool, unit_of_work, reaction, &batch).await?)
}

#[derive(Debug, Clone, Copy)]
pub struct QueueCapacity {
    /// Messages a second that are published, confirmed, delivered and acknowledged.
    pub per_second: f64,
    /// From publishing one message, alone, to having it: the median.
    pub hop: Duration,
}

/// Measures how many messages with this body pass a quorum queue, from two connections to a third.
pub async fn queue(amqp_url: &str, body: &[u8], duration: Duration) -> anyhow::Result<QueueCapacity> {
    let topology = Topology::of_quorum_queue(QUEUE);
    amqp::apply_topology(amqp_url, &topology).await?;
    let mut receiver = ReceiverConnection::any_queue(amqp_url, QUEUE, QUEUE, BATCH).await?;
    let mut publishing = open(amqp_url).await?;
    let mut hops = Vec::with_capacity(HOPS);
    for _ in 0..HOPS {
        let begun = Instant::now();
        let (published, consumed) = tokio::join!(publish(&mut publishing, body, 1), consume(&mut receiver));
        anyhow::ensure!(published == 1 && consumed? == 1, "the broker did not take a message");
        hops.push(begun.elapsed());
    }
    hops.sort_unstable();

    let begun = Instant::now();
    let mut publishers = JoinSet::new();
    for mut channel in [publishing, open(amqp_url).await?] {
        let body = body.to_owned();
        publishers.spawn(async move {
            while begun.elapsed() < duration {
                publish(&mut channel, &body, WINDOW).await;
            }
        });
    }
    let mut count = 0;
    while begun.elapsed() < duration {
        count += consume(&mut receiver).await?;
    }
    let per_second = f64::from(u32::try_from(count)?) / begun.elapsed().as_secs_f64();
    publishers.join_all().await;
    receiver.close().await?;
    amqp::remove_topology(amqp_url, &topology).await?;
    Ok(QueueCapacity { per_second, hop: hops[HOPS / 2] })
}

async fn open(amqp_url: &str) -> anyhow::Result<ConfirmChannel> {
    Ok(ConfirmChannel::open(Arc::new(connect(amqp_url, QUEUE).await?)).await?)
}

/// Takes what has arrived and acknowledges it.
async fn consume(receiver: &mut Receiver) -> anyhow::Result<usize> {
    let arrived = receiver.receive().await?;
    receiver.ack_through(&arrived).await?;
    Ok(arrived.len())
}

async fn publish(channel: &mut ConfirmChannel, body: &[u8], count: usize) -> usize {
    let messages: Vec<_> = (0..count)
        .map(|_| OutgoingMessage {
            id: clock::new_id().to_string(),
            exchange: "",
            routing_key: QUEUE,
            content_type: contracts::envelope::CONTENT_TYPE,
            body,
        })
        .collect();
    channel.publish_confirmed(&messages).await.len()
}
