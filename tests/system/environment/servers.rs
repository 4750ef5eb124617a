//! Servers that refuse a service, are not there yet, or go away.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use devstack::{
    Postgres, RabbitMq, RabbitMqPorts, Service, Services, Shutdown, Storage, free_ports, local_address,
    temporary_folder,
};
use futures::future::join_all;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use testkit::{World, eventually, private};

use crate::environment::process::{Variables, at_home, nowhere, program, run, service_names};

/// A service is to be ready within this.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);

/// A variable, what is right in it, what stands there instead, and what the service says.
type Refusal<'a> = (&'a str, &'a str, &'a str, &'a str);

#[tokio::test]
async fn refusing_server_stops_each_service_with_one_line() {
    let world = World::new().await;
    let check = async |service: &str, at_home: &Variables, (variable, right, wrong, says): Refusal<'_>| {
        let mut variables = at_home.clone();
        let changed = variables[variable].replace(right, wrong);
        assert_ne!(changed, variables[variable], "{service} {variable}");
        variables.insert(variable.to_owned(), changed);
        run(service, &[], &variables).await.failed_saying(&[says, variable]);
    };
    for service in service_names() {
        let (password, database) = (format!(":{service}@"), format!("_{service}"));
        let refusals = [
            ("DATABASE_URL", password.as_str(), ":wrong@", "check user and password"),
            ("DATABASE_URL", &database, "_none", "create it"),
            ("AMQP_URL", &password, ":wrong@", "check the user, password and vhost"),
            ("AMQP_URL", &world.name, "none", "check the user, password and vhost"),
        ];
        let variables = at_home(&world, service).await;
        join_all(refusals.map(|refusal| check(service, &variables, refusal))).await;
    }
}

#[tokio::test]
async fn taken_port_is_named_with_its_variable() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address").to_string();
    for service in service_names() {
        let variables = nowhere(service);
        for variable in ["HTTP_LISTEN", "OPERATIONS_LISTEN"] {
            let mut variables = variables.clone();
            variables.insert(variable.to_owned(), address.clone());
            run(service, &[], &variables).await.failed_saying(&[&address, variable, "in use"]);
        }
    }
}

#[tokio::test]
async fn queue_with_other_arguments_is_named_with_the_difference() {
    let world = World::new().await;
    let channel = world.channel().await;
    for service in system::Service::with_queue().map(system::Service::as_str) {
        let queue = format!("{service}.events");
        channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await.expect("declared");
        let variables = at_home(&world, service).await;
        let ended = run(service, &[], &variables).await;
        ended.failed_saying(&[&queue, "inequivalent arg 'x-", "received", "but current is", "delete it"]);
    }
}

#[tokio::test]
async fn service_exits_with_0_and_starts_on_a_newer_schema() {
    let world = World::new().await;
    let folder = TempDir::new().expect("a folder");
    let mut services = Services::new(folder.path()).expect("a folder");
    for service in service_names() {
        let variables = at_home(&world, service).await;
        services.start(as_service(service, &variables)).expect("it starts");
    }
    services.wait_until_ready(READY_LIMIT).await.expect("ready");
    end_with_0(&mut services).await;
    // A newer build has migrated all databases, and is rolled back.
    for service in service_names() {
        let pool = world.pool(service).await;
        for table in ["messaging._sqlx_migrations", "_sqlx_migrations"] {
            let insert = format!(
                "insert into {table} (version, description, success, checksum, execution_time)
                 values (9001, 'of a newer build', true, '', 0)"
            );
            sqlx::query(AssertSqlSafe(insert)).execute(&pool).await.expect("inserts");
        }
        services.resume(service).expect("it starts");
    }
    services.wait_until_ready(READY_LIMIT).await.expect("ready");
    end_with_0(&mut services).await;
}

#[tokio::test]
async fn service_waits_for_servers_and_exits_with_0_without_them() {
    let folder = temporary_folder().expect("a folder");
    let [port] = free_ports().expect("a free port");
    let ports = RabbitMqPorts::free().expect("free ports");
    let mut postgres =
        Postgres::start(folder.path(), port, Storage::Throwaway).await.expect("Postgres starts");
    postgres.stop(Shutdown::Fast).await.expect("it stops");
    let mut services = Services::new(&folder.path().join("services")).expect("a folder");
    let urls = start_all(&mut services, port, ports);
    for url in &urls {
        eventually(&format!("{url} lives"), async || status(&format!("{url}/health/live")).await).await;
        eventually(&format!("{url} says that the database cannot be reached"), async || {
            let ready = reqwest::get(format!("{url}/health/ready")).await.expect("an answer");
            assert_eq!(ready.status(), 503);
            let missing = missing(url).await.expect("an answer");
            if missing.contains("database: cannot be reached") { Ok(()) } else { Err(missing) }
        })
        .await;
    }

    postgres.resume().await.expect("Postgres starts");
    let broker_folder = folder.path().join("rabbitmq");
    let mut rabbitmq = RabbitMq::start(&broker_folder, ports).await.expect("RabbitMQ starts");
    let topology = system::topology();
    amqp::apply_topology(&rabbitmq.user_url("topology", "shop"), &topology).await.expect("applied");
    services.wait_until_ready(READY_LIMIT).await.expect("ready");

    postgres.stop(Shutdown::Immediate).await.expect("it stops");
    rabbitmq.process.kill().expect("it is killed");
    for url in &urls {
        eventually(&format!("{url} says what is missing"), async || {
            let missing = missing(url).await.expect("an answer");
            let named = missing.contains("database: ") && missing.contains("consuming: ");
            if named { Ok(()) } else { Err(missing) }
        })
        .await;
    }
    end_with_0(&mut services).await;
}

#[tokio::test]
async fn service_waiting_for_servers_exits_with_0() {
    let folder = TempDir::new().expect("a folder");
    let mut services = Services::new(folder.path()).expect("a folder");
    let [port] = free_ports().expect("a free port");
    let urls = start_all(&mut services, port, RabbitMqPorts::free().expect("free ports"));
    for url in &urls {
        eventually(&format!("{url} lives"), async || status(&format!("{url}/health/live")).await).await;
    }
    end_with_0(&mut services).await;
}

#[tokio::test]
async fn service_exits_with_0_while_the_broker_hangs() {
    let (rabbitmq, _folder, servers) = private::rabbitmq().await;
    let world = World::with(servers).await;
    let folder = TempDir::new().expect("a folder");
    let mut services = Services::new(folder.path()).expect("a folder");
    for service in service_names() {
        services.start(as_service(service, &at_home(&world, service).await)).expect("it starts");
    }
    services.wait_until_ready(READY_LIMIT).await.expect("ready");

    let hung = Hung::new(rabbitmq.process.pid());
    end_with_0(&mut services).await;
    let mut urls = Vec::new();
    for service in service_names() {
        let service = as_service(service, &at_home(&world, service).await);
        urls.push(format!("http://{}", service.operations));
        services.start(service).expect("it starts");
    }
    for url in urls {
        // With its database there it waits for the broker, which takes the connection and says nothing.
        eventually(&format!("{url} misses the broker alone"), async || {
            let missing = missing(&url).await.map_err(|error| error.to_string())?;
            let broker = missing.contains("consuming: ") && !missing.contains("database: ");
            // HTTP is served without the broker.
            let ready = status(&format!("{url}/health/ready")).await;
            if broker { ready } else { Err(missing) }
        })
        .await;
    }
    end_with_0(&mut services).await;
    drop(hung);
}

/// A process that keeps its sockets and does nothing, until this is dropped.
struct Hung(i32);

impl Hung {
    fn new(pid: i32) -> Self {
        signal("STOP", pid);
        Self(pid)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        signal("CONT", self.0);
    }
}

fn signal(signal: &str, pid: i32) {
    let status = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -s {signal} {pid}");
}

/// Which parts a service misses, and why.
async fn missing(url: &str) -> reqwest::Result<String> {
    let parts: Value = reqwest::get(format!("{url}/health/parts")).await?.json().await?;
    Ok(parts["detail"].as_str().unwrap_or_default().to_owned())
}

/// Starts every service with servers on those ports, and gives the URLs where they serve health.
fn start_all(services: &mut Services, postgres: u16, rabbitmq: RabbitMqPorts) -> Vec<String> {
    let RabbitMqPorts { amqp, .. } = rabbitmq;
    let start = |name: &str| {
        let mut variables = nowhere(name);
        let mut set = |variable: &str, value: String| variables.insert(variable.to_owned(), value);
        set("DATABASE_URL", format!("postgres://{name}:{name}@127.0.0.1:{postgres}/{name}"));
        set("AMQP_URL", format!("amqp://{name}:{name}@127.0.0.1:{amqp}/shop"));
        let service = as_service(name, &variables);
        let url = format!("http://{}", service.operations);
        services.start(service).expect("it starts");
        url
    };
    service_names().map(start).collect()
}

pub(super) fn as_service(name: &str, variables: &Variables) -> Service {
    let [http, operations] = free_ports().expect("free ports");
    let environment = variables.iter().filter(|(name, _)| *name != "HTTP_LISTEN");
    Service {
        name: name.to_owned(),
        binary: program(name),
        listen: local_address(http),
        operations: local_address(operations),
        environment: environment.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// Tells all services to stop, and asserts that each does by itself within its time.
async fn end_with_0(services: &mut Services) {
    for service in service_names() {
        signal("TERM", services.pid(service).expect("it was started"));
    }
    for service in service_names() {
        let ended = services.stop(service).await.expect("it was started");
        assert!(ended, "{service} was killed, or ended with an error");
    }
}

async fn status(url: &str) -> Result<(), String> {
    let reply = reqwest::get(url).await.map_err(|error| error.to_string())?;
    if reply.status().is_success() { Ok(()) } else { Err(reply.status().to_string()) }
}
