//! The table of services: what each subscribes to, and what follows from that for the whole system.

use contracts::{EventType, Service};
use messaging::config::RetryDelays;
use messaging::definitions::Subscriptions;
use messaging::topology::Topology;

/// The virtual host of the system on the broker.
pub const VHOST: &str = "shop";

/// What the order service subscribes to.
pub const ORDER: &[EventType] = &[
    EventType::ProductListed,
    EventType::StockReserved,
    EventType::StockRejected,
    EventType::StockReleased,
    EventType::PaymentAuthorized,
    EventType::PaymentDeclined,
    EventType::PaymentCaptured,
    EventType::PaymentCaptureFailed,
    EventType::PaymentVoided,
    EventType::PaymentRefunded,
];

/// What the payment service subscribes to.
pub const PAYMENT: &[EventType] =
    &[EventType::OrderPlaced, EventType::OrderConfirmed, EventType::OrderCancelled];

/// What inventory subscribes to.
pub const INVENTORY: &[EventType] =
    &[EventType::OrderPlaced, EventType::OrderConfirmed, EventType::OrderCancelled];

/// What the notification service subscribes to.
pub const NOTIFICATION: &[EventType] =
    &[EventType::OrderConfirmed, EventType::OrderCancelled, EventType::PaymentRefunded];

/// Every service with its subscriptions; analytics has none, it reads the event stream.
pub const SUBSCRIPTIONS: &[Subscriptions<'static>] = &[
    (Service::Order, ORDER),
    (Service::Payment, PAYMENT),
    (Service::Inventory, INVENTORY),
    (Service::Notification, NOTIFICATION),
    (Service::Analytics, &[]),
];

/// The topology of the whole system.
#[must_use]
pub fn topology(delays: &RetryDelays) -> Topology {
    let queued: Vec<_> =
        SUBSCRIPTIONS.iter().copied().filter(|(_, subscriptions)| !subscriptions.is_empty()).collect();
    Topology::whole(&queued, delays)
}

/// Declares the topology of the whole system, with the usual delays.
///
/// # Errors
/// [`BrokerError`](messaging::broker::BrokerError), or a URL that is not valid.
pub async fn apply_topology(amqp_url: &str) -> anyhow::Result<()> {
    messaging::broker::apply_topology(amqp_url, &topology(&RetryDelays::default())).await
}

/// The services that consume an event from their queues.
pub fn subscribers_of(event: EventType) -> impl Iterator<Item = Service> {
    SUBSCRIPTIONS
        .iter()
        .filter(move |(_, subscriptions)| subscriptions.contains(&event))
        .map(|(service, _)| *service)
}

/// Events that no service consumes although they are not kept for the record alone.
#[must_use]
pub fn unconsumed() -> Vec<EventType> {
    let mut all = EventType::ALL.to_vec();
    all.retain(|event| !event.record_only() && subscribers_of(*event).next().is_none());
    all
}
