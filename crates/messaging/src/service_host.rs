//! Everything that one service runs: its database, its broker, and the tasks between them.

use std::time::Duration;

use amqp::{Broker, BrokerConfig, Publisher, Topology};
use contracts::ServiceName;
use runtime::{
    config::DatabaseConfig,
    database::{self, Wait},
    health::Health,
    tasks::Tasks,
};
use sqlx::{PgPool, migrate::Migrator};
use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::failed_messages::{RetryConfig, Source};
use crate::reaction::Reaction;
use crate::stream_reader::StreamReader;
use crate::unit_of_work::UnitOfWork;
use crate::{prune, relay};

/// The pause before a migration that failed for a transient reason is repeated.
const MIGRATE_AGAIN: Duration = Duration::from_secs(1);

/// What every service is told.
#[derive(Debug, Clone, clap::Args)]
pub struct HostConfig {
    #[command(flatten)]
    pub database: DatabaseConfig,
    #[command(flatten)]
    pub broker: BrokerConfig,
    #[command(flatten)]
    pub retries: RetryConfig,
}

/// What the tasks of one service share.
#[derive(Clone)]
pub struct ServiceHost {
    pub pool: PgPool,
    pub unit_of_work: UnitOfWork,
    pub health: Health,
    /// Cancelled when the service is to stop.
    pub shutdown: CancellationToken,
    routing_keys: Vec<&'static str>,
    broker: Broker,
    publisher: Publisher,
    retries: RetryConfig,
}

impl ServiceHost {
    /// The host of a service that subscribes to the events of these names (none, for one that only publishes or reads
    /// the event stream), where the broker is to have this topology. Does not connect yet.
    ///
    /// # Errors
    /// When a URL of the configuration is not valid.
    pub fn new(
        service: ServiceName,
        (routing_keys, topology): (Vec<&'static str>, Topology),
        config: &HostConfig,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let health = Health::of(service.as_str());
        // Missing from the start: the service is not ready before all parts are up, and the last ones come with `start`.
        need(&health, &["database"]);
        let broker = Broker::new(&config.broker, service.as_str(), &routing_keys, &topology)?;
        Ok(Self {
            pool: database::pool(&config.database, service.as_str())?,
            unit_of_work: UnitOfWork::new(service),
            publisher: Publisher::new(&broker, &health),
            health,
            shutdown,
            routing_keys,
            broker,
            retries: config.retries.clone(),
        })
    }

    /// Waits for the database and migrates it: schema `messaging` first, then what the service gives, in its order. The
    /// service is ready once it has [started](Self::start).
    ///
    /// # Errors
    /// When waiting cannot help: a wrong password, a database of another build.
    pub async fn open(&self, migrations: &[&Migrator]) -> anyhow::Result<Wait> {
        let item = self.health.item("database");
        while database::wait_until_usable(&self.pool, &item, &self.shutdown).await? == Wait::Usable {
            item.down("its tables are brought up to date");
            match self.migrate(migrations).await {
                Err(error) if database::is_transient(&error) => item.down(format!("{error:#}")),
                done => return done.map(|()| Wait::Usable),
            }
            self.shutdown.run_until_cancelled(tokio::time::sleep(MIGRATE_AGAIN)).await;
        }
        Ok(Wait::Cancelled)
    }

    async fn migrate(&self, migrations: &[&Migrator]) -> anyhow::Result<()> {
        database::migrate(&self.pool, &crate::MIGRATIONS).await?;
        for migrations in migrations {
            database::migrate(&self.pool, migrations).await?;
        }
        Ok(())
    }

    /// Starts the tasks of a service with a queue: publisher, relay, consumer, housekeeping and checks.
    pub fn start<R: Reaction>(&self, tasks: &mut Tasks, reaction: R) {
        need(&self.health, &["consuming"]);
        self.start_publisher(tasks);
        let host = self.clone();
        let Self { broker, pool, unit_of_work, health, shutdown, .. } = host;
        let source = Source::queue(broker.service(), host.routing_keys, reaction.versions(), host.retries);
        let consumer = Consumer { broker, pool, unit_of_work, health, source, reaction };
        tasks.spawn("consumer", consumer.run(shutdown));
    }

    /// Starts the tasks of a service that only publishes.
    pub fn start_publisher(&self, tasks: &mut Tasks) {
        need(&self.health, &["publishing", "relay"]);
        self.start_watchers(tasks);
        let host = self.clone();
        tasks.spawn("publisher", host.publisher.run(host.shutdown));
        let host = self.clone();
        tasks.spawn_last("relay", |stop| {
            relay::run(host.pool, host.publisher, host.unit_of_work, host.health, stop)
        });
    }

    /// Starts the tasks of a service that reads the event stream and publishes nothing.
    pub fn start_reader<R: Reaction>(&self, tasks: &mut Tasks, reaction: R) {
        need(&self.health, &["consuming"]);
        self.start_watchers(tasks);
        let host = self.clone();
        let Self { broker, pool, health, retries, shutdown, .. } = host;
        let reader = StreamReader { broker, pool, health, retries, reaction };
        tasks.spawn("reader", reader.run(shutdown));
    }

    fn start_watchers(&self, tasks: &mut Tasks) {
        tasks.spawn("pruning", prune::run(self.pool.clone(), self.shutdown.clone()));
        let item = self.health.item("database");
        // After the migrations, and once every part is named.
        item.up();
        tasks.spawn("database", database::watch(self.pool.clone(), item, self.shutdown.clone()));
    }
}

fn need(health: &Health, parts: &[&'static str]) {
    for part in parts {
        let _ = health.item(part);
    }
}
