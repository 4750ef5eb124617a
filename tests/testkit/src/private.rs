//! Servers of a test's own, for tests that stop or kill them.

use devstack::{Postgres, RabbitMq, RabbitMqPorts, Storage, free_ports, temporary_folder};
use tempfile::TempDir;

use crate::world::Servers;

/// A RabbitMQ that only this test uses, its folder, and the servers of a world on it; Postgres is the shared one.
///
/// # Panics
/// When it does not start.
pub async fn rabbitmq() -> (RabbitMq, TempDir, Servers) {
    let folder = temporary_folder().expect("a folder");
    let ports = RabbitMqPorts::free().expect("free ports");
    let rabbitmq = RabbitMq::start(folder.path(), ports).await.expect("RabbitMQ starts");
    let (amqp, management) = (rabbitmq.admin_url(), rabbitmq.admin_management_url());
    let servers = Servers { amqp, management, ..Servers::shared() };
    (rabbitmq, folder, servers)
}

/// A Postgres that only this test uses, its folder, and the servers of a world on it; RabbitMQ is the shared one.
///
/// # Panics
/// When it does not start.
pub async fn postgres() -> (Postgres, TempDir, Servers) {
    let folder = temporary_folder().expect("a folder");
    let [port] = free_ports().expect("a free port");
    let postgres = Postgres::start(folder.path(), port, Storage::Throwaway).await.expect("Postgres starts");
    let servers = Servers { postgres: postgres.superuser_url(), ..Servers::shared() };
    (postgres, folder, servers)
}
