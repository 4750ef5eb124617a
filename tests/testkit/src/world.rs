//! A test's own databases and vhost on the shared servers.

use std::env;
use std::time::Duration;

use amqp::permissions::TOPOLOGY_USER;
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::{eventually, telemetry};

/// How long the vhost's removal may take; a broker that a test made hang does not answer.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);

static MAKING_USERS: Mutex<()> = Mutex::const_new(());

/// The servers that tests run against.
#[derive(Debug, Clone)]
pub struct Servers {
    /// Postgres as superuser, with no database named.
    pub postgres: String,
    /// RabbitMQ as administrator, with no vhost named.
    pub amqp: String,
    /// RabbitMQ's management API as administrator.
    pub management: String,
}

impl Servers {
    /// The servers that `scripts/test` started.
    ///
    /// # Panics
    /// When a variable is not set.
    #[must_use]
    pub fn shared() -> Self {
        let variable = |name: &str| {
            env::var(name).unwrap_or_else(|_| {
                panic!(
                    "{name} is not set: run scripts/test, or `cargo run -p stack --bin with-infra cargo test`"
                )
            })
        };
        Self {
            postgres: variable("TEST_POSTGRES_URL"),
            amqp: variable("TEST_AMQP_URL"),
            management: variable("TEST_RABBITMQ_MANAGEMENT_URL"),
        }
    }
}

/// A vhost with users, rights and topology, and a database for each service that asks for one. They go when the
/// test ends.
#[derive(Debug)]
pub struct World {
    /// The name of the vhost, and the beginning of the databases' names.
    pub name: String,
    servers: Servers,
}

impl World {
    /// A world with the whole topology, on the shared servers.
    pub async fn new() -> Self {
        Self::with(Servers::shared()).await
    }

    /// A world with the whole topology, on these servers.
    ///
    /// # Panics
    /// When the broker does not do what it is told.
    pub async fn with(servers: Servers) -> Self {
        let world = Self::bare(servers).await;
        let url = world.amqp_url(TOPOLOGY_USER);
        let topology = system::topology();
        // Again when a busy machine takes longer than a service would wait: to apply it twice changes nothing.
        eventually("the topology", async || amqp::apply_topology(&url, &topology).await).await;
        world
    }

    /// A world with users, rights and exchanges, without queues.
    ///
    /// # Panics
    /// When the broker does not do what it is told.
    pub async fn bare(servers: Servers) -> Self {
        telemetry::start();
        let name = format!("t{}", runtime::clock::new_id().simple());
        let world = Self { name, servers };
        let mut made = system::definitions(&world.name);
        // Users are the server's, not the vhost's: to make them again would disconnect others that log in meanwhile.
        let _one_at_a_time = MAKING_USERS.lock().await;
        if world.management("GET", &format!("/api/users/{TOPOLOGY_USER}"), None).await.0 == 200 {
            made["users"] = json!([]);
        }
        let response = world.management("POST", "/api/definitions", Some(&made)).await;
        assert!(response.0 < 300, "definitions: {response:?}");
        world
    }

    /// The URL of the broker for a user; users of the system have their names as passwords.
    ///
    /// # Panics
    /// When the server's URL is not valid.
    #[must_use]
    pub fn amqp_url(&self, user: &str) -> String {
        let (_, host) = self.servers.amqp.rsplit_once('@').expect("a URL with a user");
        format!("amqp://{user}:{user}@{host}/{}", self.name)
    }

    /// The URL of the management API for a user.
    ///
    /// # Panics
    /// When the server's URL is not valid.
    #[must_use]
    pub fn management_url(&self, user: &str) -> String {
        let (_, host) = self.servers.management.rsplit_once('@').expect("a URL with a user");
        format!("http://{user}:{user}@{host}")
    }

    /// Asks the management API as administrator; gives status and body.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn management(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.servers.management);
        let request = reqwest::Client::new().request(method.parse().expect("a method"), url);
        let request = body.into_iter().fold(request, reqwest::RequestBuilder::json);
        let response = request.send().await.expect("the management API answers");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    /// A channel of the administrator's in this world's vhost.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn channel(&self) -> Channel {
        let url = self.amqp_url("admin");
        let connection =
            Connection::connect(&url, ConnectionProperties::default()).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.expect("confirms");
        channel
    }

    /// Has the broker cut every connection of these users in this world, and says how many that were.
    ///
    /// # Panics
    /// When the management API does not answer.
    pub async fn cut_connections(&self, users: &[&str]) -> usize {
        let (_, listed) =
            self.management("GET", &format!("/api/vhosts/{}/connections", self.name), None).await;
        let mut cut = 0;
        for connection in listed.as_array().into_iter().flatten() {
            let (name, user) = (connection["name"].as_str(), connection["user"].as_str());
            if let (Some(name), Some(user)) = (name, user)
                && users.contains(&user)
            {
                let path = format!("/api/connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
                cut += usize::from(self.management("DELETE", &path, None).await.0 == 204);
            }
        }
        cut
    }

    /// The URL of a service's own, empty database, made on first use.
    ///
    /// # Panics
    /// When the database does not do what it is told.
    pub async fn database_url(&self, service: &str) -> String {
        let name = format!("{}_{service}", self.name);
        let mut admin = PgConnection::connect(&self.servers.postgres).await.expect("Postgres answers");
        let create = AssertSqlSafe(format!(r#"create database "{name}" owner "{service}""#));
        if let Err(error) = sqlx::query(create).execute(&mut admin).await {
            let code = error.as_database_error().and_then(|error| error.code().map(String::from));
            assert_eq!(
                code.as_deref(),
                Some("42P04"),
                "only a database that is there already is fine: {error}"
            );
            return self.database_url_of(service, service);
        }
        // As deploy/postgres/init.sql has it.
        let rights = AssertSqlSafe(format!(
            r#"revoke connect on database "{name}" from public; grant connect on database "{name}" to auditor"#
        ));
        sqlx::raw_sql(rights).execute(&mut admin).await.expect("rights are set");
        self.database_url_of(service, service)
    }

    /// The URL of a service's database for a role, whose password is its name.
    ///
    /// # Panics
    /// When the server's URL is not valid.
    #[must_use]
    pub fn database_url_of(&self, role: &str, service: &str) -> String {
        let (_, host) = self.servers.postgres.rsplit_once('@').expect("a URL with a user");
        let host = host.split('/').next().unwrap_or(host);
        format!("postgres://{role}:{role}@{host}/{}_{service}", self.name)
    }

    /// The URL of a service's database as superuser.
    pub async fn admin_database_url(&self, service: &str) -> String {
        self.database_url(service).await;
        format!("{}/{}_{service}", self.servers.postgres, self.name)
    }

    /// Drops a service's database. The next to ask for it gets an empty one.
    ///
    /// # Panics
    /// When the database does not do what it is told.
    pub async fn drop_database(&self, service: &str) {
        let mut admin = PgConnection::connect(&self.servers.postgres).await.expect("Postgres answers");
        let drop = AssertSqlSafe(format!(r#"drop database "{}_{service}" with (force)"#, self.name));
        sqlx::query(drop).execute(&mut admin).await.expect("the database is dropped");
    }

    /// A pool on a service's database.
    ///
    /// # Panics
    /// When the database does not answer.
    pub async fn pool(&self, service: &str) -> PgPool {
        PgPool::connect(&self.database_url(service).await).await.expect("Postgres answers")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (servers, name) = (self.servers.clone(), self.name.clone());
        // Drop cannot await; a server that is gone took its part with it.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let vhost = format!("{}/api/vhosts/{name}", servers.management);
                let vhost = reqwest::Client::new().delete(vhost).timeout(REMOVAL_LIMIT).send();
                let databases = tokio::time::timeout(REMOVAL_LIMIT, drop_databases(&servers.postgres, &name));
                let _ = tokio::join!(vhost, databases);
            });
            Ok::<(), std::io::Error>(())
        });
        let _ = removal.join();
    }
}

async fn drop_databases(postgres: &str, prefix: &str) -> sqlx::Result<()> {
    let mut admin = PgConnection::connect(postgres).await?;
    let names: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
            .bind(prefix)
            .fetch_all(&mut admin)
            .await?;
    for name in names {
        let drop = AssertSqlSafe(format!(r#"drop database if exists "{name}" with (force)"#));
        sqlx::query(drop).execute(&mut admin).await?;
    }
    Ok(())
}
