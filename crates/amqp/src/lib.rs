//! RabbitMQ alone: connections, publishing with confirms, receiving in batches, topology and permissions.
//!
//! Services are names here, and events are routing keys: this crate knows no message of the system. It is the only
//! one that names the client library, lapin.

pub mod broker;
pub mod config;
pub mod connection;
pub mod error;
pub mod headers;
pub mod inspect;
pub mod message;
pub mod permissions;
pub mod polled_queue;
pub mod publisher;
pub mod receiver;
pub mod supervise;
pub mod topology;

pub use broker::Broker;
pub use config::BrokerConfig;
pub use error::BrokerError;
pub use headers::Headers;
pub use message::{OutgoingMessage, RawMessage};
pub use polled_queue::PolledQueue;
pub use publisher::{CONFIRM_LIMIT, ConfirmChannel, Fate, Publisher};
pub use receiver::{Receiver, ReceiverConnection};
pub use topology::{Topology, apply_topology, remove_topology};
