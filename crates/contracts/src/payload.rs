//! The data of each event, beside what its envelope says. Readers ignore fields that they do not know.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::value::{
    CancelReason, Customer, Money, NotificationKind, OrderId, OrderLine, PaymentMethod, Shortage, Sku,
    StockLine,
};

macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
            pub struct $name {
                $($(#[$fdoc])* pub $field: $type,)*
            }
        )*
    };
}

payloads! {
    /// A product is for sale at a price, or its name or price changed.
    ProductListed {
        /// The product; the subject of this event.
        sku: Sku,
        /// Its name for people.
        name: String,
        /// Price of one piece.
        price: Money,
    }

    /// A customer placed an order; it waits for stock and for money.
    OrderPlaced {
        /// The order.
        order_id: OrderId,
        /// Who ordered.
        customer: Customer,
        /// What, 1 to 50 lines, each SKU once.
        lines: Vec<OrderLine>,
        /// The sum of the lines.
        total: Money,
        /// How it is to be paid.
        payment_method: PaymentMethod,
    }

    /// Every line of the order is set aside.
    StockReserved {
        /// The order.
        order_id: OrderId,
        /// What was set aside.
        lines: Vec<StockLine>,
    }

    /// Not every line could be set aside, so none was.
    StockRejected {
        /// The order.
        order_id: OrderId,
        /// The lines that were short.
        shortages: Vec<Shortage>,
    }

    /// The card processor holds the money.
    PaymentAuthorized {
        /// The order.
        order_id: OrderId,
        /// The payment.
        payment_id: Uuid,
        /// What is held.
        amount: Money,
    }

    /// The card processor refused, for good.
    PaymentDeclined {
        /// The order.
        order_id: OrderId,
        /// The payment.
        payment_id: Uuid,
        /// The processor's word for why, such as `card_declined`.
        reason: String,
    }

    /// Stock and money are both there: the order will be delivered.
    OrderConfirmed {
        /// The order.
        order_id: OrderId,
        /// Who ordered.
        customer: Customer,
        /// What.
        lines: Vec<OrderLine>,
        /// The sum of the lines.
        total: Money,
    }

    /// The order is off; whoever did something for it undoes it.
    OrderCancelled {
        /// The order.
        order_id: OrderId,
        /// Who ordered.
        customer: Customer,
        /// Why.
        reason: CancelReason,
    }

    /// The stock of a confirmed order left the shelf.
    StockCommitted {
        /// The order.
        order_id: OrderId,
        /// What left.
        lines: Vec<StockLine>,
    }

    /// What was set aside, or had left, is for sale again.
    StockReleased {
        /// The order.
        order_id: OrderId,
        /// What came back; empty when nothing had been set aside.
        lines: Vec<StockLine>,
    }

    /// The money held was taken.
    PaymentCaptured {
        /// The order.
        order_id: OrderId,
        /// The payment.
        payment_id: Uuid,
        /// What was taken.
        amount: Money,
    }

    /// The money held could not be taken.
    PaymentCaptureFailed {
        /// The order.
        order_id: OrderId,
        /// The payment.
        payment_id: Uuid,
        /// The processor's word for why.
        reason: String,
    }

    /// The hold was lifted, or never was.
    PaymentVoided {
        /// The order.
        order_id: OrderId,
        /// The payment.
        payment_id: Uuid,
    }

    /// The money taken was given back, all of it.
    PaymentRefunded {
        /// The order.
        order_id: OrderId,
        /// The payment.
        payment_id: Uuid,
        /// What was given back.
        amount: Money,
    }

    /// The money of a confirmed order was taken; nothing is left to do.
    OrderCompleted {
        /// The order.
        order_id: OrderId,
        /// What the order was worth.
        total: Money,
    }

    /// A mail was handed to the mail server.
    NotificationSent {
        /// The order.
        order_id: OrderId,
        /// The notification, also its mail's Message-ID.
        notification_id: Uuid,
        /// What it was about.
        kind: NotificationKind,
    }

    /// The mail server refused a mail for good.
    NotificationFailed {
        /// The order.
        order_id: OrderId,
        /// The notification.
        notification_id: Uuid,
        /// What it was about.
        kind: NotificationKind,
        /// What the mail server said.
        reason: String,
    }
}
