//! The events of the shop, each with its fields, in one table.
//!
//! To add an event: a row here, a sample in [`samples`](crate::samples), and `sagactl generate`.

use uuid::Uuid;

use crate::envelope;
use crate::error::DecodeError;
use crate::messages::{EventSet, Versions};
use crate::money::Money;
use crate::value::{
    CancelReason, Customer, NotificationKind, OrderId, OrderLine, PaymentMethod, Shortage, Sku, StockLine,
};

crate::messages! {
    pub Event, EventType;

    /// A product is for sale at a price, or its name or price changed.
    ProductListed = "product.listed" version 1, owner "inventory", subject sku {
        sku: Sku,
        name: String,
        /// Of one piece.
        price: Money,
    }

    /// A customer placed an order; it waits for stock and payment.
    OrderPlaced = "order.placed" version 1, owner "order", subject order_id {
        order_id: OrderId,
        customer: Customer,
        /// 1 to 50, each SKU once.
        lines: Vec<OrderLine>,
        total: Money,
        payment_method: PaymentMethod,
    }

    /// Every line of the order is reserved.
    StockReserved = "stock.reserved" version 1, owner "inventory", subject order_id {
        order_id: OrderId,
        lines: Vec<StockLine>,
    }

    /// Not every line could be reserved, so none was.
    StockRejected = "stock.rejected" version 1, owner "inventory", subject order_id {
        order_id: OrderId,
        shortages: Vec<Shortage>,
    }

    /// The card processor holds the money.
    PaymentAuthorized = "payment.authorized" version 1, owner "payment", subject order_id {
        order_id: OrderId,
        payment_id: Uuid,
        amount: Money,
    }

    /// The card processor refused, for good.
    PaymentDeclined = "payment.declined" version 1, owner "payment", subject order_id {
        order_id: OrderId,
        payment_id: Uuid,
        /// The processor's word for why, such as `card_declined`.
        reason: String,
    }

    /// Stock is reserved and the payment authorized: the order will be delivered.
    OrderConfirmed = "order.confirmed" version 1, owner "order", subject order_id {
        order_id: OrderId,
        customer: Customer,
        lines: Vec<OrderLine>,
        total: Money,
    }

    /// The order is cancelled; each participant compensates what it did for it.
    OrderCancelled = "order.cancelled" version 1, owner "order", subject order_id {
        order_id: OrderId,
        customer: Customer,
        reason: CancelReason,
    }

    /// The stock of a confirmed order left the shelf.
    StockCommitted = "stock.committed" version 1, owner "inventory", subject order_id, record_only {
        order_id: OrderId,
        lines: Vec<StockLine>,
    }

    /// What was reserved, or had left, is for sale again.
    StockReleased = "stock.released" version 1, owner "inventory", subject order_id {
        order_id: OrderId,
        /// Empty when nothing had been reserved.
        lines: Vec<StockLine>,
    }

    /// The money held was taken.
    PaymentCaptured = "payment.captured" version 1, owner "payment", subject order_id {
        order_id: OrderId,
        payment_id: Uuid,
        amount: Money,
    }

    /// The money held could not be taken.
    PaymentCaptureFailed = "payment.capture_failed" version 1, owner "payment", subject order_id {
        order_id: OrderId,
        payment_id: Uuid,
        /// The processor's word for why.
        reason: String,
    }

    /// The hold was lifted, or never was.
    PaymentVoided = "payment.voided" version 1, owner "payment", subject order_id {
        order_id: OrderId,
        payment_id: Uuid,
    }

    /// The money taken was given back, all of it.
    PaymentRefunded = "payment.refunded" version 1, owner "payment", subject order_id {
        order_id: OrderId,
        payment_id: Uuid,
        amount: Money,
    }

    /// The money of a confirmed order was taken; nothing is left to do.
    OrderCompleted = "order.completed" version 1, owner "order", subject order_id, record_only {
        order_id: OrderId,
        customer: Customer,
        lines: Vec<OrderLine>,
        total: Money,
    }

    /// A mail was handed to the mail server.
    NotificationSent = "notification.sent" version 1, owner "notification", subject order_id, record_only {
        order_id: OrderId,
        notification_id: Uuid,
        kind: NotificationKind,
    }

    /// The mail server refused a mail for good.
    NotificationFailed = "notification.failed" version 1, owner "notification", subject order_id, record_only {
        order_id: OrderId,
        notification_id: Uuid,
        kind: NotificationKind,
        /// What the mail server said.
        reason: String,
    }

    /// A product is no longer for sale. Orders placed before keep it, at their price.
    ProductDelisted = "product.delisted" version 1, owner "inventory", subject sku {
        sku: Sku,
    }
}

impl Event {
    /// The order that the event is about; none for an event of a product.
    pub fn order_id(&self) -> Option<OrderId> {
        self.subject().correlation_id().map(OrderId)
    }
}

/// An event of the shop, or of another table, with its attributes.
pub type Envelope<E = Event> = envelope::Envelope<E>;

impl Envelope {
    /// Decodes a message's body as an event of the shop, in a version that this build knows.
    pub fn from_json(body: &[u8]) -> Result<Self, DecodeError> {
        Versions::current().decode_envelope(body)
    }
}
