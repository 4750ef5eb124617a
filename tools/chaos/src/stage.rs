//! The whole system, with a proxy on every link, and every fault at hand.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::message_faults::MessageFaults;
use amqp::RetryDelays;
use amqp::permissions::{AUDITOR_USER, TOPOLOGY_USER};
use anyhow::{Context, Result};
use devstack::{Postgres, Proxy, RabbitMq, RabbitMqPorts, Services, Shutdown, SmtpSink, Storage};
use messaging::failpoint::FILE_VARIABLE;
use system::Service;

use super::service::{PROVIDER, VARIABLE};
use audit::Sources;
use system::{Dependency, VHOST};

const READY_LIMIT: Duration = Duration::from_secs(60);
/// A call without an answer is given up by the processor after this time, longer than its caller waits.
const HANG_DURATION: &str = "10s";

/// The running system.
#[derive(Debug)]
pub(super) struct Stage {
    // Before the servers they use, because fields are dropped in this order.
    /// The services.
    pub(super) services: Services,
    /// What leads messages astray.
    pub(super) message_faults: BTreeMap<Service, MessageFaults>,
    /// The network.
    pub(super) proxies: BTreeMap<(Service, Dependency), Proxy>,
    /// The broker.
    pub(super) rabbitmq: RabbitMq,
    /// The database server.
    pub(super) postgres: Postgres,
    _smtp: SmtpSink,
    /// Where each service answers HTTP, and the card processor.
    addresses: BTreeMap<&'static str, SocketAddr>,
    dir: PathBuf,
}

impl Stage {
    /// Starts everything in the folder, on ports that are free, and waits until it is ready.
    ///
    /// # Errors
    /// A message that says which part did not come up, and why.
    pub(super) async fn set(dir: &Path, seed: u64) -> Result<Self> {
        let [postgres, smtp] = devstack::free_ports()?;
        let ports = devstack::free_ports_for(system::programs().map(|program| program.name))?;
        let addresses = ports.into_iter().map(|(name, port)| (name, devstack::local_address(port))).collect();
        let postgres = Postgres::start(&folder(dir, "postgres")?, postgres, Storage::Kept).await?;
        let rabbitmq = RabbitMq::start(&folder(dir, "rabbitmq")?, RabbitMqPorts::free()?).await?;
        system::apply_topology(&rabbitmq.user_url(TOPOLOGY_USER, VHOST)).await?;
        let mut stage = Self {
            services: Services::new(&folder(dir, "services")?)?,
            message_faults: BTreeMap::new(),
            proxies: BTreeMap::new(),
            _smtp: SmtpSink::start(&folder(dir, "mail")?, smtp).await?,
            rabbitmq,
            postgres,
            addresses,
            dir: dir.to_owned(),
        };
        stage.lay_links(devstack::local_address(smtp)).await?;
        stage.open_message_faults(seed).await?;
        stage.start(PROVIDER, stage.provider_environment(), stage.addresses[PROVIDER])?;
        for service in Service::ALL.iter().copied() {
            let address = stage.addresses[service.as_str()];
            stage.start(service.as_str(), stage.environment(service), address)?;
        }
        stage.services.wait_until_ready(READY_LIMIT).await?;
        Ok(stage)
    }

    async fn lay_links(&mut self, mail_server: SocketAddr) -> Result<()> {
        for service in Service::ALL.iter().copied() {
            for dependency in service.needs().iter().copied() {
                let target = match dependency {
                    Dependency::Database => devstack::local_address(self.postgres.port()),
                    Dependency::Broker => devstack::local_address(self.rabbitmq.ports().amqp),
                    Dependency::PaymentProvider => self.addresses[PROVIDER],
                    Dependency::MailServer => mail_server,
                };
                self.proxies.insert((service, dependency), Proxy::before(target).await?);
            }
        }
        Ok(())
    }

    async fn open_message_faults(&mut self, seed: u64) -> Result<()> {
        let url = self.rabbitmq.user_url(TOPOLOGY_USER, VHOST);
        for service in Service::with_queue() {
            self.message_faults.insert(service, MessageFaults::open(&url, service, seed).await?);
        }
        Ok(())
    }

    /// Starts a second replica of a service, under the given name and on a port of its own.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub(super) fn start_replica(&mut self, service: Service, name: &str) -> Result<()> {
        let [port] = devstack::free_ports()?;
        let mut environment = self.environment(service);
        environment.retain(|(variable, _)| variable != FILE_VARIABLE);
        let service = child(service.as_str(), environment, devstack::local_address(port))?;
        self.services.start(devstack::Service { name: name.to_owned(), ..service })
    }

    fn start(&mut self, name: &str, environment: Vec<(String, String)>, listen: SocketAddr) -> Result<()> {
        self.services.start(child(name, environment, listen)?)
    }

    /// The file that arms a crash point of the service.
    #[must_use]
    pub(super) fn crash_file(&self, service: Service) -> PathBuf {
        self.dir.join("services").join(format!("{service}.crash"))
    }

    /// Base URL of a service.
    #[must_use]
    pub(super) fn url(&self, service: Service) -> String {
        format!("http://{}", self.addresses[service.as_str()])
    }

    /// Base URL of the card processor.
    #[must_use]
    pub(super) fn provider_url(&self) -> String {
        format!("http://{}", self.addresses[PROVIDER])
    }

    /// Where the auditor finds everything: past the proxies.
    #[must_use]
    pub(super) fn sources(&self) -> Sources {
        let database = |service: &Service| {
            let port = self.postgres.port();
            (*service, format!("postgres://{AUDITOR_USER}:{AUDITOR_USER}@127.0.0.1:{port}/{service}"))
        };
        Sources {
            databases: Service::with_database().map(|service| database(&service)).collect(),
            amqp_url: self.rabbitmq.user_url(AUDITOR_USER, VHOST),
            retry_delays: RetryDelays::default(),
            provider_url: self.provider_url(),
            expected_dead_letters: 0,
            recorded: Vec::new(),
        }
    }

    /// Stops everything, the services first.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(super) async fn strike(mut self) -> Result<()> {
        self.services.stop_all().await?;
        tokio::try_join!(self.rabbitmq.stop(), self.postgres.stop(Shutdown::Fast))?;
        Ok(())
    }

    fn environment(&self, service: Service) -> Vec<(String, String)> {
        let crash_file = self.crash_file(service);
        let mut variables = vec![
            ("RABBITMQ_MANAGEMENT_URL", self.rabbitmq.management_url(service.as_str())),
            (FILE_VARIABLE, crash_file.to_string_lossy().into_owned()),
        ];
        variables.extend(service.needs().iter().map(|need| {
            let address = self.proxies[&(service, *need)].address();
            let url = match need {
                Dependency::Database => format!("postgres://{service}:{service}@{address}/{service}"),
                Dependency::Broker => format!("amqp://{service}:{service}@{address}/{VHOST}"),
                Dependency::PaymentProvider => format!("http://{address}"),
                Dependency::MailServer => format!("smtp://{address}"),
            };
            (need.variable(), url)
        }));
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn provider_environment(&self) -> Vec<(String, String)> {
        let journal = self.dir.join("services/payment-provider.journal");
        let variables = [
            ("JOURNAL_PATH", journal.to_string_lossy().into_owned()),
            ("HANG_DURATION", HANG_DURATION.to_owned()),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// This program as a service.
fn child(
    name: &str,
    mut environment: Vec<(String, String)>,
    listen: SocketAddr,
) -> Result<devstack::Service> {
    environment.push((VARIABLE.to_owned(), name.to_owned()));
    let binary = env::current_exe().context("this program has no path")?;
    Ok(devstack::Service { name: name.to_owned(), binary, listen, environment })
}

fn folder(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}
