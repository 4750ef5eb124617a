//! The whole system: the servers, the topology, and every service, started in the order they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{Postgres, RabbitMq, RabbitMqPorts, Service, Services, Shutdown, SmtpSink, Storage, ports};

/// The virtual host of the system.
const VHOST: &str = "shop";
const READY_LIMIT: Duration = Duration::from_secs(60);

/// The services that own a database, in the order of their standard ports.
const SERVICES: [&str; 5] = ["order", "payment", "inventory", "notification", "analytics"];
/// The outside world, simulated.
const PROVIDER: &str = "payment-provider";

/// Every port of the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemPorts {
    /// HTTP of order, payment, inventory, notification and analytics.
    pub services: [u16; 5],
    /// HTTP of the simulated card processor.
    pub provider: u16,
    /// Postgres.
    pub postgres: u16,
    /// RabbitMQ.
    pub rabbitmq: RabbitMqPorts,
    /// SMTP.
    pub smtp: u16,
}

impl SystemPorts {
    /// The documented ports; those of the servers are not the usual ones, so that nothing meets a
    /// Postgres or a RabbitMQ that runs on the machine already.
    pub const STANDARD: Self = Self {
        services: [8081, 8082, 8083, 8084, 8085],
        provider: 8090,
        postgres: 8432,
        rabbitmq: RabbitMqPorts { amqp: 8672, management: 8673, distribution: 8674, epmd: 8675 },
        smtp: 8025,
    };

    /// Ports that nobody listens on.
    ///
    /// # Errors
    /// When there are too few.
    pub fn free() -> Result<Self> {
        let [order, payment, inventory, notification, analytics, provider, postgres, smtp] = ports::free()?;
        let services = [order, payment, inventory, notification, analytics];
        Ok(Self { services, provider, postgres, rabbitmq: RabbitMqPorts::free()?, smtp })
    }

    /// Fails on the first port that somebody listens on, naming who.
    ///
    /// # Errors
    /// As for [`crate::require_free_port`].
    pub fn require_free(&self) -> Result<()> {
        for (name, port) in SERVICES.into_iter().zip(self.services) {
            ports::require_free(port, name)?;
        }
        let RabbitMqPorts { amqp, management, distribution, epmd } = self.rabbitmq;
        ports::require_free(self.provider, PROVIDER)?;
        ports::require_free(self.postgres, "Postgres")?;
        ports::require_free(amqp, "RabbitMQ")?;
        ports::require_free(management, "RabbitMQ management")?;
        ports::require_free(distribution, "RabbitMQ tools")?;
        ports::require_free(epmd, "RabbitMQ port mapper")?;
        ports::require_free(self.smtp, "mail sink")
    }
}

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct SystemOptions {
    /// The folder of all data and logs.
    pub dir: PathBuf,
    /// Every port.
    pub ports: SystemPorts,
    /// The folder of the services' programs.
    pub binaries: PathBuf,
    /// Whether the database must survive a crash of the machine.
    pub storage: Storage,
    /// Variables for every service, such as a shorter deadline.
    pub environment: Vec<(String, String)>,
}

/// One more of every service.
#[derive(Debug, Clone, Copy)]
pub struct Replicas {
    ports: [u16; 5],
}

impl Replicas {
    /// Base URL of a service; none for what owns no database, and has no replica.
    #[must_use]
    pub fn url(&self, service: &str) -> Option<String> {
        let position = SERVICES.iter().position(|name| *name == service)?;
        Some(format!("http://{}", ports::local(self.ports[position])))
    }
}

/// The running system, stopped when dropped.
#[derive(Debug)]
pub struct System {
    // Before the servers they use, because fields are dropped in this order.
    /// The services.
    pub services: Services,
    /// The mail sink.
    pub smtp: SmtpSink,
    /// The broker.
    pub rabbitmq: RabbitMq,
    /// The database server.
    pub postgres: Postgres,
    ports: SystemPorts,
}

impl System {
    /// Starts everything and waits until every service is ready. `apply_topology` gets the URL of the broker
    /// before any service starts; `step` hears what was done and how long it took.
    ///
    /// # Errors
    /// A message that says which part did not come up and why; what had been started is stopped.
    pub async fn start(
        options: &SystemOptions,
        apply_topology: impl AsyncFnOnce(&str) -> Result<()>,
        mut step: impl FnMut(&str, Duration),
    ) -> Result<Self> {
        let SystemOptions { dir, ports, .. } = options;
        require_binaries(&options.binaries)?;
        let mut clock = Instant::now();
        let mut done = |what: &str| step(what, std::mem::replace(&mut clock, Instant::now()).elapsed());

        let postgres = Postgres::start(&folder(dir, "postgres")?, ports.postgres, options.storage).await?;
        done("Postgres");
        let rabbitmq = RabbitMq::start(&folder(dir, "rabbitmq")?, ports.rabbitmq).await?;
        done("RabbitMQ");
        apply_topology(&rabbitmq.user_url("topology", VHOST)).await.context("cannot apply the topology")?;
        done("topology");
        let smtp = match options.storage {
            Storage::Measured => SmtpSink::counting(ports.smtp).await?,
            Storage::Kept | Storage::Throwaway => SmtpSink::start(&folder(dir, "mail")?, ports.smtp).await?,
        };
        let services = Services::new(&folder(dir, "services")?)?;
        let mut system = Self { services, smtp, rabbitmq, postgres, ports: *ports };
        for service in system.all_services(options) {
            system.services.start(service)?;
        }
        system.services.wait_until_ready(READY_LIMIT).await?;
        done("services");
        Ok(system)
    }

    /// Base URL of a service, such as `http://127.0.0.1:8081` for `order`.
    #[must_use]
    pub fn url(&self, service: &str) -> String {
        let position = SERVICES.iter().position(|name| *name == service);
        let port = position.map_or(self.ports.provider, |index| self.ports.services[index]);
        format!("http://{}", ports::local(port))
    }

    /// Starts one more of every service that owns a database, each on a port that is free, and waits until they are ready.
    /// `options` are those that the system was started with, `number` tells this replica from the others.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start_replicas(&mut self, options: &SystemOptions, number: usize) -> Result<Replicas> {
        let ports = ports::free()?;
        for (name, port) in SERVICES.into_iter().zip(ports) {
            let mut replica = self.service(options, name, port, self.environment(name));
            replica.name = format!("{name}-{number}");
            self.services.start(replica)?;
        }
        self.services.wait_until_ready(READY_LIMIT).await?;
        Ok(Replicas { ports })
    }

    /// Starts again what ended without being asked; says what that was.
    ///
    /// # Errors
    /// When a part does not come up again.
    pub async fn revive(&mut self) -> Result<Vec<String>> {
        let mut revived = Vec::new();
        if let Some(status) = self.postgres.exited()? {
            self.postgres.resume().await?;
            revived.push(format!("Postgres ({status})"));
        }
        if let Some(status) = self.rabbitmq.exited()? {
            self.rabbitmq.resume().await?;
            revived.push(format!("RabbitMQ ({status})"));
        }
        for (service, status) in self.services.ended()? {
            self.services.resume(&service)?;
            revived.push(format!("{service} ({status})"));
        }
        Ok(revived)
    }

    /// Stops everything: the services first, then the servers they use.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn stop(mut self) -> Result<()> {
        self.services.stop_all().await?;
        tokio::try_join!(self.rabbitmq.stop(), self.postgres.stop(Shutdown::Fast))?;
        Ok(())
    }

    fn all_services(&self, options: &SystemOptions) -> Vec<Service> {
        let mut services: Vec<Service> = SERVICES
            .into_iter()
            .zip(self.ports.services)
            .map(|(name, port)| self.service(options, name, port, self.environment(name)))
            .collect();
        let journal = options.dir.join("services/payment-provider.journal");
        let environment = vec![variable("JOURNAL_PATH", journal.to_string_lossy())];
        services.push(self.service(options, PROVIDER, self.ports.provider, environment));
        services
    }

    fn service(
        &self,
        options: &SystemOptions,
        name: &str,
        port: u16,
        mut environment: Vec<(String, String)>,
    ) -> Service {
        environment.extend(options.environment.iter().cloned());
        Service {
            name: name.to_owned(),
            binary: options.binaries.join(name),
            listen: ports::local(port),
            environment,
        }
    }

    fn environment(&self, service: &str) -> Vec<(String, String)> {
        let mut variables = vec![
            variable("DATABASE_URL", self.postgres.service_url(service)),
            variable("AMQP_URL", self.rabbitmq.user_url(service, VHOST)),
            variable("RABBITMQ_MANAGEMENT_URL", self.rabbitmq.management_url(service)),
        ];
        match service {
            "payment" => variables.push(variable("PAYMENT_PROVIDER_URL", self.url(PROVIDER))),
            "notification" => variables.push(variable("SMTP_URL", self.smtp.url())),
            _ => {}
        }
        variables
    }
}

fn variable(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn folder(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

fn require_binaries(folder: &Path) -> Result<()> {
    for name in SERVICES.into_iter().chain([PROVIDER]) {
        let binary = folder.join(name);
        ensure!(binary.is_file(), "{} is missing: run `cargo build --bins`", binary.display());
    }
    Ok(())
}
