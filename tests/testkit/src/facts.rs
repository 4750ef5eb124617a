//! The events that these tests are about.

use contracts::{
    CancelReason, Customer, Envelope, Event, Money, OrderCancelled, OrderConfirmed, OrderId, OrderLine,
    OrderPlaced, StockReserved, TraceContext,
};
use messaging::{CausationContext, OutgoingEvent};
use runtime::clock;

/// A new order's id.
pub fn new_order() -> OrderId {
    OrderId(clock::new_id())
}

/// The event as its publisher's relay would publish it.
pub fn envelope(event: impl Into<Event>, aggregate_version: i64) -> Envelope {
    Envelope {
        id: clock::new_id(),
        time: clock::now(),
        causation_id: None,
        aggregate_version,
        trace: TraceContext::default(),
        event: event.into(),
    }
}

/// `order.placed` of that many of the SKU.
pub fn placed(order_id: OrderId, sku: &str, quantity: i64) -> OrderPlaced {
    let unit_price = Money { amount_minor: 1000, currency: "EUR".parse().expect("a currency") };
    let quantity = quantity.try_into().expect("a quantity");
    OrderPlaced {
        order_id,
        customer: customer(),
        lines: vec![OrderLine { sku: sku.parse().expect("a SKU"), quantity, unit_price: unit_price.clone() }],
        total: unit_price,
        payment_method: "pm_card_visa".parse().expect("a payment method"),
    }
}

/// `order.confirmed` of one piece.
pub fn confirmed(order_id: OrderId) -> OrderConfirmed {
    let OrderPlaced { customer, lines, total, .. } = placed(order_id, "BEANS", 1);
    OrderConfirmed { order_id, customer, lines, total }
}

/// `order.cancelled` by the customer.
pub fn cancelled(order_id: OrderId) -> OrderCancelled {
    OrderCancelled { order_id, customer: customer(), reason: CancelReason::CustomerRequest }
}

/// An event of inventory.
pub fn reserved(order_id: OrderId, aggregate_version: i64) -> OutgoingEvent {
    let event = StockReserved { order_id, lines: Vec::new() }.into();
    OutgoingEvent { event, aggregate_version, origin: CausationContext::default() }
}

fn customer() -> Customer {
    Customer {
        id: "customer-1".parse().expect("an id"),
        email: "ada@example.com".parse().expect("an address"),
    }
}
