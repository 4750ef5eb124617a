//! The whole system, every link proxied, every service with its failpoints, and every fault at hand.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use amqp::permissions::{AUDITOR_USER, TOPOLOGY_USER};
use anyhow::{Context, Result};
use audit::Sources;
use devstack::{Storage, System, SystemOptions, SystemPorts};
use messaging::failpoint::FILE_VARIABLE;
use system::{Service, VHOST};

use crate::message_faults::MessageFaults;

/// How long an event of an unknown version waits for a build that supports it: none comes here.
const UNSUPPORTED_WAIT: &str = "5s";
/// Names the service that this program is to be, instead of the `chaos` command.
const VARIABLE: &str = "CHAOS_SERVICE";
/// The card processor's name, which is no service's.
pub(super) const PROVIDER: &str = system::Outside::PaymentProvider.program().name;
/// When the processor gives up a call that it does not answer: later than its caller does.
const HANG_DURATION: &str = "10s";

/// Runs the service that the environment names, if it names one, until it ends: this program is built with failpoints.
pub async fn run_service() -> Option<ExitCode> {
    let code = registry::code(&env::var(VARIABLE).ok()?)?;
    Some((code.main)().await)
}

#[derive(Debug)]
pub(super) struct Stage {
    /// Of every service with a queue.
    pub(super) message_faults: BTreeMap<Service, MessageFaults>,
    pub(super) system: System,
    dir: PathBuf,
}

impl Stage {
    /// Starts everything in the folder, on free ports, and waits until it is ready.
    pub(super) async fn start(dir: &Path, seed: u64) -> Result<Self> {
        let options = SystemOptions {
            dir: dir.to_owned(),
            ports: SystemPorts::free()?,
            binaries: env::current_exe().context("this program has no path")?,
            storage: Storage::Kept,
            environment: Vec::new(),
            proxied: true,
            configure,
        };
        let system = System::start(options, |_, _| {}).await?;
        let url = system.rabbitmq.user_url(TOPOLOGY_USER, VHOST);
        let mut message_faults = BTreeMap::new();
        for service in Service::with_queue() {
            message_faults.insert(service, MessageFaults::open(&url, service, seed).await?);
        }
        Ok(Self { message_faults, system, dir: dir.to_owned() })
    }

    /// The file that arms a failpoint of the service.
    pub(super) fn failpoint_file(&self, service: Service) -> PathBuf {
        self.dir.join("services").join(failpoint_file(service.as_str()))
    }

    pub(super) fn url(&self, service: Service) -> String {
        self.system.url(service.as_str())
    }

    /// Where the auditor finds everything: past the proxies.
    pub(super) fn sources(&self) -> Sources {
        let postgres = &self.system.postgres;
        let database = |service: Service| (service, postgres.user_url(AUDITOR_USER, service.as_str()));
        Sources {
            databases: Service::with_database().map(database).collect(),
            amqp_url: self.system.rabbitmq.user_url(AUDITOR_USER, VHOST),
            provider_url: self.system.url(PROVIDER),
            expected_dead_letters: 0,
            recorded: Vec::new(),
        }
    }
}

fn failpoint_file(service: &str) -> String {
    format!("{service}.failpoint")
}

/// Runs this program as the service. Replicas have other names, so that only the first one has armed failpoints.
fn configure(program: &str, service: &mut devstack::Service) {
    // A service runs in the folder of its log.
    let variables = [
        (VARIABLE, program),
        (FILE_VARIABLE, &failpoint_file(&service.name)),
        ("HANG_DURATION", HANG_DURATION),
        ("UNSUPPORTED_WAIT", UNSUPPORTED_WAIT),
    ];
    service.environment.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
}
