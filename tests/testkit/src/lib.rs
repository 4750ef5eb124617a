//! What the system tests stand on: a world of its own for each test (databases and a vhost), and the whole shop
//! running in it.
//!
//! Postgres and RabbitMQ are the real ones. `scripts/test` starts them; the tests find them by
//! `TEST_POSTGRES_URL`, `TEST_AMQP_URL` and `TEST_RABBITMQ_MANAGEMENT_URL`.

#![expect(clippy::expect_used, reason = "in a test a failure is a panic")]

pub mod broker;
pub mod facts;
pub mod fixture;
pub mod private;
pub mod raw_publisher;
pub mod recorder;
pub mod running;
pub mod scripted_worker;
pub mod telemetry;
pub mod wait;
pub mod world;

pub use broker::Held;
pub use running::Running;
pub use wait::{DEADLINE, eventually};
pub use world::World;
