//! What stands in a message: the events, their envelope and the values inside them.
//!
//! Every type here is a wire type: it parses into something that cannot be wrong, and it does no IO. A service keeps
//! domain types of its own. The events of the shop are one [`table`]; another system declares its own with
//! [`messages!`].

// The macro's code names this crate, also in here.
extern crate self as contracts;

pub mod envelope;
mod error;
pub mod messages;
mod money;
pub mod samples;
pub mod table;
mod text;
pub mod value;

#[doc(hidden)]
pub use {serde, serde_json, strict_json, strum};

pub use envelope::TraceContext;
pub use error::{DecodeError, InvalidTransition};
pub use messages::{EventSet, Row, ServiceName, Subject, Upcaster, Versions};
pub use money::Money;
pub use table::*;
pub use text::is_visible;
pub use value::{
    CancelReason, Currency, Customer, CustomerId, Email, InvalidValue, NotificationKind, OrderId, OrderLine,
    PaymentMethod, Quantity, Shortage, Sku, StockLine,
};
