//! What these tests stand on: a [`ServiceFixture`] is a service's place in a world, and a [`Replica`] runs there.

use crate::{DEADLINE, World, eventually};
use amqp::Broker;
use contracts::OrderId;
use devstack::Proxy;
use messaging::dead_letters::{self, FailedMessage, Which};
use messaging::failed_messages::Source;
use messaging::{
    BrokerConfig, Consumer, Effects, HostConfig, OutgoingEvent, Reaction, RetryConfig, RetryDelays,
    ServiceHost, UnitOfWork,
};
use std::time::Duration;

use runtime::config::DatabaseConfig;
use runtime::tasks::Tasks;
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use system::Service;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Retry delays that a test can wait for.
pub fn short_delays() -> RetryDelays {
    "50ms,100ms,150ms".parse().expect("delays")
}

/// How long an event waits for a build that supports it, unless a test says otherwise.
const UNSUPPORTED_WAIT: Duration = Duration::from_millis(300);

/// A service's place in a world: its database, migrated, and its configuration.
#[derive(Debug)]
pub struct ServiceFixture {
    pub service: Service,
    pub pool: PgPool,
    url: String,
    config: HostConfig,
}

impl ServiceFixture {
    /// Takes the place of a service with its subscriptions.
    pub async fn take(world: &World, service: Service, delays: &RetryDelays) -> Self {
        let url = world.database_url(service.as_str()).await;
        let pool = world.pool(service.as_str()).await;
        runtime::database::migrate(&pool, &messaging::MIGRATIONS).await.expect("migrated");
        let tables =
            "create table effects (id bigserial, order_id uuid not null, aggregate_version bigint not null)";
        sqlx::query(tables).execute(&pool).await.expect("a table");
        let broker = BrokerConfig { amqp_url: world.amqp_url(service.as_str()).into(), batch: 100 };
        let database = DatabaseConfig { url: url.clone().into(), max_connections: 8 };
        let retries = RetryConfig { delays: delays.clone(), unsupported_wait: UNSUPPORTED_WAIT };
        Self { service, pool, url, config: HostConfig { database, broker, retries } }
    }

    /// The same, with a fault proxy before its database.
    pub async fn behind_proxy(&self) -> (Self, Proxy) {
        let url = self.url.clone();
        let (rest, database) = url.rsplit_once('/').expect("a URL with a database");
        let (user, host) = rest.rsplit_once('@').expect("a URL with a user");
        let proxy = Proxy::before(host).await.expect("a proxy");
        let url = format!("{user}@{}/{database}", proxy.address());
        let database = DatabaseConfig { url: url.clone().into(), ..self.config.database.clone() };
        let config = HostConfig { database, ..self.config.clone() };
        (Self { service: self.service, pool: self.pool.clone(), url, config }, proxy)
    }

    /// The same, with a fault proxy before the broker.
    pub async fn behind_broker_proxy(&self) -> (Self, Proxy) {
        let url = self.config.broker.amqp_url.expose_secret();
        let (user, rest) = url.rsplit_once('@').expect("a URL with a user");
        let (host, vhost) = rest.split_once('/').expect("a URL with a vhost");
        let proxy = Proxy::before(host).await.expect("a proxy");
        let amqp_url = format!("{user}@{}/{vhost}", proxy.address()).into();
        let broker = BrokerConfig { amqp_url, ..self.config.broker.clone() };
        let config = HostConfig { broker, ..self.config.clone() };
        (Self { service: self.service, pool: self.pool.clone(), url: self.url.clone(), config }, proxy)
    }

    /// Its host, connected to nothing yet.
    pub fn node(&self) -> ServiceHost {
        let (service, shutdown) = (self.service, CancellationToken::new());
        ServiceHost::new(service.into(), service.on_broker(), &self.config, shutdown).expect("a host")
    }

    /// Starts a replica with the reaction.
    pub fn start<R: Reaction>(&self, reaction: R) -> Replica {
        let host = self.node();
        let mut tasks = Tasks::new(host.shutdown.clone());
        host.start(&mut tasks, reaction);
        Replica::of(host, tasks)
    }

    /// Starts a consumer, and nothing else that would use the database.
    pub async fn consume<R: Reaction>(&self, reaction: R) -> Replica {
        let host = self.node();
        let (routing_keys, topology) = self.service.on_broker();
        let broker = Broker::new(&self.config.broker, self.service.as_str(), &routing_keys, &topology)
            .expect("a broker");
        let retries = self.config.retries.clone();
        let source = Source::queue(self.service.as_str(), routing_keys, reaction.versions(), retries);
        let consumer = Consumer {
            broker,
            pool: host.pool.clone(),
            unit_of_work: host.unit_of_work.clone(),
            health: host.health.clone(),
            source,
            reaction,
        };
        let mut tasks = Tasks::new(host.shutdown.clone());
        tasks.spawn("consumer", consumer.run(host.shutdown.clone()));
        let item = host.health.item("consuming");
        eventually("a consumer", async || if item.is_up() { Ok(()) } else { Err("none") }).await;
        Replica::of(host, tasks)
    }

    /// Starts a replica that stops within the test, and waits until it is ready.
    pub async fn open<R: Reaction>(&self, reaction: R) -> Replica {
        let replica = self.start(reaction);
        replica.ready().await;
        replica
    }

    /// How often each of the order's events took effect, by their aggregate version.
    pub async fn effects(&self, order: OrderId) -> Vec<i64> {
        sqlx::query_scalar("select aggregate_version from effects where order_id = $1 order by id")
            .bind(order.0)
            .fetch_all(&self.pool)
            .await
            .expect("effects")
    }

    /// Waits until the order's events took effect as given.
    pub async fn takes_effect(&self, order: OrderId, aggregate_versions: &[i64]) {
        eventually(&format!("effects of {order}"), async || {
            let seen = self.effects(order).await;
            if seen == aggregate_versions { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    /// Publishes an event in a transaction of its own.
    pub async fn publish(&self, unit_of_work: &UnitOfWork, event: OutgoingEvent) {
        let tx = runtime::database::begin(&self.pool).await.expect("a transaction");
        unit_of_work.commit(tx, Effects::publish(vec![event])).await.expect("committed");
    }

    /// Waits until the outbox is empty.
    pub async fn outbox_empties(&self) {
        eventually("an empty outbox", async || {
            let depth = self.count("select count(*) from messaging.outbox").await;
            if depth == 0 { Ok(()) } else { Err(depth) }
        })
        .await;
    }

    /// Keeps everybody else from writing to the table until it is rolled back.
    pub async fn lock(&self, table: &str) -> Transaction<'static, Postgres> {
        let mut tx = runtime::database::begin(&self.pool).await.expect("a transaction");
        let lock = AssertSqlSafe(format!("lock table {table} in exclusive mode"));
        sqlx::query(lock).execute(&mut *tx).await.expect("a lock");
        tx
    }

    /// A number that a query gives.
    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect("a number")
    }

    /// The queue that it consumes from.
    pub fn events_queue(&self) -> String {
        amqp::topology::events_queue(self.service.as_str())
    }

    /// The queue behind the broker's backstop.
    pub fn backstop(&self) -> String {
        amqp::topology::dead_letter_queue(self.service.as_str())
    }

    /// The same, where an event waits so long for a build that supports it.
    #[must_use]
    pub fn with_unsupported_wait(mut self, wait: Duration) -> Self {
        self.config.retries.unsupported_wait = wait;
        self
    }

    /// The messages that failed, in the order in which they came.
    pub async fn failed(&self, which: Which) -> Vec<FailedMessage> {
        let mut conn = self.pool.acquire().await.expect("a connection");
        dead_letters::list(&mut conn, which).await.expect("a list")
    }

    /// Waits until there are so many dead letters, and gives them.
    pub async fn dead_letters(&self, count: usize) -> Vec<FailedMessage> {
        eventually(&format!("{count} dead letters"), async || {
            let dead = self.failed(Which::DeadLetters).await;
            if dead.len() == count { Ok(dead) } else { Err(dead) }
        })
        .await
    }

    /// Waits until so many messages wait for their next attempt, and gives them.
    pub async fn retries(&self, count: usize) -> Vec<FailedMessage> {
        eventually(&format!("{count} messages that wait"), async || {
            let waiting = self.failed(Which::Waiting).await;
            if waiting.len() == count { Ok(waiting) } else { Err(waiting) }
        })
        .await
    }

    /// No message is among those that failed.
    pub async fn has_no_failed_message(&self) {
        assert_eq!(self.count("select count(*) from messaging.failed_messages").await, 0);
    }
}

/// A running replica of a service.
pub struct Replica {
    pub host: ServiceHost,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    /// What the tasks run, ended by [`stop`](Self::stop) or [`kill`](Self::kill).
    #[expect(clippy::disallowed_methods, reason = "the test's runtime is the owner, and ends it")]
    pub fn of(host: ServiceHost, tasks: Tasks) -> Self {
        host.health.item("database").up();
        Self { host, task: tokio::spawn(tasks.join()) }
    }

    /// Waits until nothing is missing.
    pub async fn ready(&self) {
        eventually("readiness", async || {
            let missing = self.host.health.missing();
            if missing.is_empty() { Ok(()) } else { Err(missing) }
        })
        .await;
    }

    /// Waits until a part is missing for a reason that has `text` in it.
    pub async fn lacks(&self, part: &str, text: &str) {
        eventually(&format!("{part} missing: {text}"), async || {
            let missing = self.host.health.missing();
            if missing.get(part).is_some_and(|reason| reason.contains(text)) { Ok(()) } else { Err(missing) }
        })
        .await;
    }

    /// Stops it as SIGTERM would.
    pub async fn stop(self) {
        self.host.shutdown.cancel();
        self.task.await.expect("no panic").expect("an orderly end");
    }

    /// Waits for it to end by itself, and gives back how.
    pub async fn ended(self) -> anyhow::Result<()> {
        timeout(DEADLINE, self.task).await.expect("it ends").expect("no panic")
    }

    /// Ends it as `kill -9` would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
