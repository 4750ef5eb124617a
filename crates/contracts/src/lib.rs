//! The vocabulary that the services share: the events, their envelope and the values inside them.
//!
//! Everything here is a wire type: it is what stands in a message, it parses into something that cannot be
//! wrong, and it does no IO. A service keeps domain types of its own.
//!
//! To add an event: add its payload to [`payload`], its row to the table in [`catalogue`], its sample to
//! [`samples`], and run `sagactl generate`.

pub mod catalogue;
pub mod envelope;
pub mod payload;
pub mod samples;
pub mod value;

pub use catalogue::{Event, EventType, Service};
pub use envelope::{DecodeError, Envelope, TraceContext};
pub use payload::{
    NotificationFailed, NotificationSent, OrderCancelled, OrderCompleted, OrderConfirmed, OrderPlaced,
    PaymentAuthorized, PaymentCaptureFailed, PaymentCaptured, PaymentDeclined, PaymentRefunded,
    PaymentVoided, ProductListed, StockCommitted, StockRejected, StockReleased, StockReserved,
};
pub use value::{
    CancelReason, Currency, Customer, CustomerId, Email, InvalidValue, Money, NotificationKind, OrderId,
    OrderLine, PaymentMethod, Quantity, Shortage, Sku, StockLine,
};
