//! The whole system: the servers, the topology, and every service, started in the order they need.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::system::{Dependency, Outside, VHOST, programs};
use anyhow::{Context, Result, ensure};

use crate::{Postgres, RabbitMq, RabbitMqPorts, Service, Services, Shutdown, SmtpSink, Storage, ports};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// HTTP ports by the name of the program.
pub type HttpPorts = BTreeMap<&'static str, u16>;

/// Every port of the system.
#[derive(Debug, Clone)]
pub struct SystemPorts {
    /// HTTP of the services and of what is outside.
    pub http: HttpPorts,
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
    #[must_use]
    pub fn standard() -> Self {
        Self {
            http: programs().map(|program| (program.name, program.port)).collect(),
            postgres: 8432,
            rabbitmq: RabbitMqPorts { amqp: 8672, management: 8673, distribution: 8674, epmd: 8675 },
            smtp: 8025,
        }
    }

    /// Ports that nobody listens on.
    ///
    /// # Errors
    /// When there are too few.
    pub fn free() -> Result<Self> {
        let [postgres, smtp] = ports::free()?;
        let http = ports::free_for(programs().map(|program| program.name))?;
        Ok(Self { http, postgres, rabbitmq: RabbitMqPorts::free()?, smtp })
    }

    /// Fails on the first port that somebody listens on, naming who.
    ///
    /// # Errors
    /// As for [`crate::require_free_port`].
    pub fn require_free(&self) -> Result<()> {
        for (name, port) in &self.http {
            ports::require_free(*port, name)?;
        }
        let RabbitMqPorts { amqp, management, distribution, epmd } = self.rabbitmq;
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
#[derive(Debug, Clone)]
pub struct Replicas {
    ports: HttpPorts,
}

impl Replicas {
    /// Base URL of a service; none for what is outside, and has no replica.
    #[must_use]
    pub fn url(&self, service: &str) -> Option<String> {
        Some(format!("http://{}", ports::local(*self.ports.get(service)?)))
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
        let mut system = Self { services, smtp, rabbitmq, postgres, ports: ports.clone() };
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
        // Port 0, where nobody answers, for a name that is in no row.
        format!("http://{}", ports::local(self.ports.http.get(service).copied().unwrap_or_default()))
    }

    /// Starts one more of every service, each on a port that is free, and waits until they are ready.
    /// `options` are those that the system was started with, `number` tells this replica from the others.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start_replicas(&mut self, options: &SystemOptions, number: usize) -> Result<Replicas> {
        let services = ::system::Service::ALL;
        let ports = ports::free_for(services.iter().map(|service| service.as_str()))?;
        for service in services.iter().copied() {
            let name = service.as_str();
            let mut replica = self.service(options, name, ports[name], self.environment(service));
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
        let services = ::system::Service::ALL.iter().copied();
        let inside = services.map(|service| (service.as_str(), self.environment(service)));
        let outside = Outside::ALL.iter().map(|outside| {
            let name = outside.program().name;
            let journal = options.dir.join(format!("services/{name}.journal"));
            (name, vec![variable("JOURNAL_PATH", journal.to_string_lossy())])
        });
        let all = inside.chain(outside);
        all.map(|(name, environment)| self.service(options, name, self.ports.http[name], environment))
            .collect()
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

    /// Where the service finds what it needs.
    fn environment(&self, service: ::system::Service) -> Vec<(String, String)> {
        let name = service.as_str();
        let mut variables = Vec::new();
        for need in service.needs() {
            let url = match need {
                Dependency::Database => self.postgres.service_url(name),
                Dependency::Broker => {
                    variables.push(variable("RABBITMQ_MANAGEMENT_URL", self.rabbitmq.management_url(name)));
                    self.rabbitmq.user_url(name, VHOST)
                }
                Dependency::PaymentProvider => self.url(Outside::PaymentProvider.program().name),
                Dependency::MailServer => self.smtp.url(),
            };
            variables.push(variable(need.variable(), url));
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
    for program in programs() {
        let binary = folder.join(program.name);
        ensure!(binary.is_file(), "{} is missing: run `cargo build --bins`", binary.display());
    }
    Ok(())
}
