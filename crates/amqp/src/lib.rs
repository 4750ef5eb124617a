//! RabbitMQ alone: connections, publishing with confirms, receiving in batches, topology and permissions.
//!
//! | module | what it does |
//! |---|---|
//! | [`connection`] | opens connections, each with a time limit and a name |
//! | [`supervise`] | runs work over one connection after the other, until the shutdown |
//! | [`broker`] | the broker as one service uses it |
//! | [`publisher`] | publishes persistent, `mandatory` messages and waits for their confirms |
//! | [`receiver`] | receives the messages of a queue or of the event stream in batches |
//! | [`held_queue`] | holds every message of a queue while a person looks at them |
//! | [`topology`], [`permissions`] | what the broker must have, and who may do what there |
//! | [`bindings`] | which bindings the broker has |
//! | [`inspect`] | how many messages wait in a queue, and which |
//!
//! Services are names here, and events are routing keys: this crate knows no message of the system. It is the only
//! one that names the client library, lapin.

pub mod bindings;
pub mod broker;
pub mod config;
pub mod connection;
pub mod error;
pub mod headers;
pub mod held_queue;
pub mod inspect;
pub mod message;
pub mod permissions;
pub mod publisher;
pub mod receiver;
pub mod supervise;
pub mod topology;

pub use broker::Broker;
pub use config::{BrokerConfig, RetryDelays};
pub use error::BrokerError;
pub use headers::Headers;
pub use held_queue::HeldQueue;
pub use message::{OutgoingMessage, RawMessage};
pub use publisher::{ConfirmChannel, Publisher};
pub use receiver::{Receiver, StreamConnection, StreamStart};
pub use topology::{Topology, apply_topology, remove_topology};
