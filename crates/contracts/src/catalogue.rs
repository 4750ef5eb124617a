//! The one table of events: name, version, owner. Bindings, rights and documents are made from it.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::payload::{
    NotificationFailed, NotificationSent, OrderCancelled, OrderCompleted, OrderConfirmed, OrderPlaced,
    PaymentAuthorized, PaymentCaptureFailed, PaymentCaptured, PaymentDeclined, PaymentRefunded,
    PaymentVoided, ProductListed, StockCommitted, StockRejected, StockReleased, StockReserved,
};
use crate::value::{InvalidValue, OrderId, words};

words! {
    /// The services that announce and hear events.
    Service, "a service" {
        /// Takes orders and keeps their state.
        Order = "order",
        /// Holds, takes and gives back money.
        Payment = "payment",
        /// Keeps products and stock.
        Inventory = "inventory",
        /// Sends mails.
        Notification = "notification",
        /// Counts.
        Analytics = "analytics",
    }
}

/// One row an event: its payload type (also its variant), its name, version and owner, and `record_only` when
/// nobody but analytics needs to hear it.
macro_rules! catalogue {
    ($($variant:ident: $name:literal $version:literal $owner:ident $($record_only:ident)?;)+) => {
        /// What happened, with its data. Serializes as the data alone; the type stands in the envelope.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
        #[serde(untagged)]
        pub enum Event {
            $(#[doc = concat!("`", $name, "`")] $variant($variant),)+
        }

        $(impl From<$variant> for Event {
            fn from(data: $variant) -> Self {
                Self::$variant(data)
            }
        })+

        /// Which event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl EventType {
            /// Every event, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name without the version, which is also its routing key: `order.placed`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The version of its shape, counted from 1.
            #[must_use]
            pub fn version(self) -> u32 {
                match self { $(Self::$variant => $version,)+ }
            }

            /// The only service that may announce it.
            #[must_use]
            pub fn owner(self) -> Service {
                match self { $(Self::$variant => Service::$owner,)+ }
            }

            /// Whether it is kept for the record, with no hearer but analytics.
            #[must_use]
            pub fn record_only(self) -> bool {
                match self { $(Self::$variant => catalogue!(@flag $($record_only)?),)+ }
            }

            /// Its name with the version, as in the envelope: `order.placed.v1`.
            #[must_use]
            pub fn versioned_name(self) -> &'static str {
                match self { $(Self::$variant => concat!($name, ".v", $version),)+ }
            }
        }

        impl FromStr for EventType {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                match text {
                    $(concat!($name, ".v", $version) => Ok(Self::$variant),)+
                    other => Err(InvalidValue(format!("{other:?} is not an event: see the catalogue"))),
                }
            }
        }

        impl Event {
            /// Which event this is.
            #[must_use]
            pub fn event_type(&self) -> EventType {
                match self { $(Self::$variant(_) => EventType::$variant,)+ }
            }

            /// Reads the data of an event of the given type.
            ///
            /// # Errors
            /// When the data is not of the type's shape.
            pub fn from_json(event_type: EventType, data: &str) -> serde_json::Result<Self> {
                match event_type { $(EventType::$variant => serde_json::from_str(data).map(Self::$variant),)+ }
            }
        }
    };
    (@flag record_only) => { true };
    (@flag) => { false };
}

catalogue! {
    ProductListed:        "product.listed"         1 Inventory;
    OrderPlaced:          "order.placed"           1 Order;
    StockReserved:        "stock.reserved"         1 Inventory;
    StockRejected:        "stock.rejected"         1 Inventory;
    PaymentAuthorized:    "payment.authorized"     1 Payment;
    PaymentDeclined:      "payment.declined"       1 Payment;
    OrderConfirmed:       "order.confirmed"        1 Order;
    OrderCancelled:       "order.cancelled"        1 Order;
    StockCommitted:       "stock.committed"        1 Inventory record_only;
    StockReleased:        "stock.released"         1 Inventory;
    PaymentCaptured:      "payment.captured"       1 Payment;
    PaymentCaptureFailed: "payment.capture_failed" 1 Payment;
    PaymentVoided:        "payment.voided"         1 Payment;
    PaymentRefunded:      "payment.refunded"       1 Payment;
    OrderCompleted:       "order.completed"        1 Order record_only;
    NotificationSent:     "notification.sent"      1 Notification record_only;
    NotificationFailed:   "notification.failed"    1 Notification record_only;
}

impl Event {
    /// The order that the event is about; none for `product.listed`.
    #[must_use]
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::ProductListed(_) => None,
            Self::OrderPlaced(data) => Some(data.order_id),
            Self::StockReserved(data) => Some(data.order_id),
            Self::StockRejected(data) => Some(data.order_id),
            Self::PaymentAuthorized(data) => Some(data.order_id),
            Self::PaymentDeclined(data) => Some(data.order_id),
            Self::OrderConfirmed(data) => Some(data.order_id),
            Self::OrderCancelled(data) => Some(data.order_id),
            Self::StockCommitted(data) => Some(data.order_id),
            Self::StockReleased(data) => Some(data.order_id),
            Self::PaymentCaptured(data) => Some(data.order_id),
            Self::PaymentCaptureFailed(data) => Some(data.order_id),
            Self::PaymentVoided(data) => Some(data.order_id),
            Self::PaymentRefunded(data) => Some(data.order_id),
            Self::OrderCompleted(data) => Some(data.order_id),
            Self::NotificationSent(data) => Some(data.order_id),
            Self::NotificationFailed(data) => Some(data.order_id),
        }
    }

    /// What the event is about, as the envelope's `subject`: the order's id, or the SKU.
    #[must_use]
    pub fn subject(&self) -> String {
        match (self, self.order_id()) {
            (_, Some(order_id)) => order_id.to_string(),
            (Self::ProductListed(data), _) => data.sku.to_string(),
            (_, None) => String::new(),
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        let names: HashSet<_> = EventType::ALL.iter().map(|event| event.versioned_name()).collect();
        assert_eq!(names.len(), EventType::ALL.len());
        for event in EventType::ALL {
            assert_eq!(event.versioned_name().parse(), Ok(*event));
        }
    }

    #[test]
    fn a_name_without_its_version_is_unknown() {
        assert!("order.placed".parse::<EventType>().is_err());
        assert!("order.placed.v2".parse::<EventType>().is_err());
    }
}
