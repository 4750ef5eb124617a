//! The whole system: the servers, the topology, and every service, started in the order they need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::system::{Dependency, Outside, VHOST, programs};
use anyhow::{Context, Result, ensure};

use crate::{
    Postgres, Proxy, RabbitMq, RabbitMqPorts, Service, Services, Shutdown, SmtpSink, Storage, ports,
};

const READY_LIMIT: Duration = Duration::from_secs(60);

/// Where one service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePorts {
    pub http: u16,
    /// For health and metrics.
    pub operations: u16,
}

pub type HttpPorts = BTreeMap<&'static str, ServicePorts>;

#[derive(Debug, Clone)]
pub struct SystemPorts {
    /// HTTP of the services and of what is outside.
    pub http: HttpPorts,
    pub postgres: u16,
    pub rabbitmq: RabbitMqPorts,
    pub smtp: u16,
}

impl SystemPorts {
    /// The documented ports; those of the servers are not the usual ones, so that nothing meets a
    /// Postgres or a RabbitMQ that runs on the machine already.
    pub fn standard() -> Self {
        Self {
            http: programs()
                .map(|program| {
                    let (http, operations) = (program.port, program.operations_port());
                    (program.name, ServicePorts { http, operations })
                })
                .collect(),
            postgres: 8432,
            rabbitmq: RabbitMqPorts { amqp: 8672, management: 8673, distribution: 8674, epmd: 8675 },
            smtp: 8025,
        }
    }

    pub fn free() -> Result<Self> {
        let [postgres, smtp] = ports::free()?;
        let http = free_for(programs().map(|program| program.name))?;
        Ok(Self { http, postgres, rabbitmq: RabbitMqPorts::free()?, smtp })
    }

    /// Fails on the first port that somebody listens on, naming who.
    pub fn require_free(&self) -> Result<()> {
        for (name, ports) in &self.http {
            ports::require_free(ports.http, name)?;
            ports::require_free(ports.operations, &format!("health of {name}"))?;
        }
        ports::require_free(self.postgres, "Postgres")?;
        ports::require_free(self.rabbitmq.amqp, "RabbitMQ")?;
        ports::require_free(self.rabbitmq.management, "RabbitMQ management")?;
        ports::require_free(self.rabbitmq.distribution, "RabbitMQ tools")?;
        ports::require_free(self.rabbitmq.epmd, "RabbitMQ port mapper")?;
        ports::require_free(self.smtp, "mail sink")
    }
}

#[derive(Debug, Clone)]
pub struct SystemOptions {
    pub dir: PathBuf,
    pub ports: SystemPorts,
    /// The folder of the services' programs, or one program that can be any of them.
    pub binaries: PathBuf,
    pub storage: Storage,
    /// Variables for every service, such as a shorter deadline.
    pub environment: Vec<(String, String)>,
    /// Whether there is a fault proxy between every service and what it connects to.
    pub proxied: bool,
    /// The last word on how a service is run; gets the name of its program.
    pub configure: fn(&str, &mut Service),
}

/// The running system, stopped when dropped.
#[derive(Debug)]
pub struct System {
    // Before the servers they use, because fields are dropped in this order.
    pub services: Services,
    pub proxies: BTreeMap<(::system::Service, Dependency), Proxy>,
    pub smtp: SmtpSink,
    pub rabbitmq: RabbitMq,
    pub postgres: Postgres,
    options: SystemOptions,
}

impl System {
    /// Starts everything, applies the topology, and waits until every service is ready. `step` is called with each
    /// part that is done and the time it took. When one does not start, those before it are stopped.
    pub async fn start(options: SystemOptions, mut step: impl FnMut(&str, Duration)) -> Result<Self> {
        let SystemOptions { dir, ports, .. } = &options;
        require_binaries(&options.binaries)?;
        let mut clock = Instant::now();
        let mut done = |what: &str| step(what, std::mem::replace(&mut clock, Instant::now()).elapsed());

        let postgres = Postgres::start(&dir.join("postgres"), ports.postgres, options.storage).await?;
        done("Postgres");
        let rabbitmq = RabbitMq::start(&dir.join("rabbitmq"), ports.rabbitmq).await?;
        done("RabbitMQ");
        let topology_url = rabbitmq.user_url("topology", VHOST);
        ::system::apply_topology(&topology_url).await.context("cannot apply the topology")?;
        done("topology");
        let smtp = match options.storage {
            Storage::Measured => SmtpSink::counting(ports.smtp).await?,
            Storage::Kept | Storage::Throwaway => SmtpSink::start(&dir.join("mail"), ports.smtp).await?,
        };
        let services = Services::new(&dir.join("services"))?;
        let mut system = Self { services, proxies: BTreeMap::new(), smtp, rabbitmq, postgres, options };
        for service in ::system::Service::ALL.iter().filter(|_| system.options.proxied) {
            for need in service.needs() {
                let proxy = Proxy::before(system.address(*need)).await?;
                system.proxies.insert((*service, *need), proxy);
            }
        }
        for service in system.all_services() {
            system.services.start(service)?;
        }
        system.services.wait_until_ready(READY_LIMIT).await?;
        done("services");
        Ok(system)
    }

    /// Base URL of a service, such as `http://127.0.0.1:8081` for `order`.
    pub fn url(&self, service: &str) -> String {
        self.url_at(service, |ports| ports.http)
    }

    /// The same of its listener for health and metrics.
    pub fn operations_url(&self, service: &str) -> String {
        self.url_at(service, |ports| ports.operations)
    }

    fn url_at(&self, service: &str, port: fn(&ServicePorts) -> u16) -> String {
        // Port 0, where nobody answers, for a name that is in no row.
        format!("http://{}", ports::local(self.options.ports.http.get(service).map(port).unwrap_or_default()))
    }

    /// Starts one more of every service, each on a free port, without waiting for it; gives their ports. A replica of
    /// `order` is called `order-2` when `number` is 2.
    pub fn start_replicas(&mut self, number: usize) -> Result<HttpPorts> {
        let services = ::system::Service::ALL;
        let ports = free_for(services.iter().map(|service| service.as_str()))?;
        for service in services.iter().copied() {
            let program = service.as_str();
            let (name, environment) = (format!("{program}-{number}"), self.environment(service));
            self.services.start(self.service(program, name, ports[program], environment))?;
        }
        Ok(ports)
    }

    /// Starts again what ended without being asked; says what that was.
    pub async fn revive(&mut self) -> Result<Vec<String>> {
        let mut revived = Vec::new();
        if let Some(status) = self.postgres.process.exited()? {
            self.postgres.resume().await?;
            revived.push(format!("Postgres ({status})"));
        }
        if let Some(status) = self.rabbitmq.process.exited()? {
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
    pub async fn stop(mut self) -> Result<()> {
        self.services.stop_all().await?;
        tokio::try_join!(self.rabbitmq.stop(), self.postgres.stop(Shutdown::Fast))?;
        Ok(())
    }

    fn all_services(&self) -> Vec<Service> {
        let services = ::system::Service::ALL.iter().copied();
        let inside = services.map(|service| (service.as_str(), self.environment(service)));
        let outside = Outside::ALL.iter().map(|outside| {
            let name = outside.program().name;
            let journal = self.options.dir.join(format!("services/{name}.journal"));
            (name, vec![variable("JOURNAL_PATH", journal.to_string_lossy())])
        });
        let all = inside.chain(outside);
        let ports = &self.options.ports.http;
        all.map(|(name, environment)| self.service(name, name.to_owned(), ports[name], environment)).collect()
    }

    fn service(
        &self,
        program: &str,
        name: String,
        ports: ServicePorts,
        mut environment: Vec<(String, String)>,
    ) -> Service {
        environment.extend(self.options.environment.iter().cloned());
        let binary = binary(&self.options.binaries, program);
        let (listen, operations) = (ports::local(ports.http), ports::local(ports.operations));
        let mut service = Service { name, binary, listen, operations, environment };
        (self.options.configure)(program, &mut service);
        service
    }

    fn address(&self, need: Dependency) -> SocketAddr {
        match need {
            Dependency::Database => ports::local(self.postgres.port),
            Dependency::Broker => ports::local(self.rabbitmq.ports.amqp),
            Dependency::PaymentProvider => {
                ports::local(self.options.ports.http[Outside::PaymentProvider.program().name].http)
            }
            Dependency::MailServer => self.smtp.address(),
        }
    }

    fn environment(&self, service: ::system::Service) -> Vec<(String, String)> {
        let name = service.as_str();
        let mut variables = Vec::new();
        for need in service.needs() {
            let proxy = self.proxies.get(&(service, *need));
            let address = proxy.map_or_else(|| self.address(*need), Proxy::address);
            let url = match need {
                Dependency::Database => format!("postgres://{name}:{name}@{address}/{name}"),
                Dependency::Broker => format!("amqp://{name}:{name}@{address}/{VHOST}"),
                Dependency::PaymentProvider => format!("http://{address}"),
                Dependency::MailServer => format!("smtp://{address}"),
            };
            variables.push(variable(need.variable(), url));
        }
        variables
    }
}

fn free_for(names: impl Iterator<Item = &'static str>) -> Result<HttpPorts> {
    names
        .map(|name| {
            let [http, operations] = ports::free()?;
            Ok((name, ServicePorts { http, operations }))
        })
        .collect()
}

fn variable(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn binary(binaries: &Path, program: &str) -> PathBuf {
    if binaries.is_file() { binaries.to_owned() } else { binaries.join(program) }
}

fn require_binaries(binaries: &Path) -> Result<()> {
    for program in programs() {
        let binary = binary(binaries, program.name);
        ensure!(binary.is_file(), "{} is missing: run `cargo build --bins`", binary.display());
    }
    Ok(())
}
