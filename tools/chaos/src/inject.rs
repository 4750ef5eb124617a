//! How each fault begins and ends.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use amqp::topology::EVENTS_EXCHANGE;
use anyhow::{Context, Result};
use devstack::{Shutdown, System};
use reqwest::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use system::{Service, VHOST};
use tokio::sync::watch;

use super::faults::{Fault, Misconduct};
use super::stage::{PROVIDER, Stage};

const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const REPLICA: usize = 2;
/// Of the replicas that take the lead of a frozen one.
const SUCCESSOR: usize = 3;
const BURST: f64 = 10.0;
/// The limits after an alarm: RabbitMQ's default, and that of deploy/rabbitmq/rabbitmq.conf.
const MEMORY: &str = "0.4";
const DISK: &str = "500MB";

#[derive(Debug)]
pub(super) struct Injector {
    pub(super) stage: Stage,
    /// Orders a second, now and outside bursts.
    pub(super) rate: watch::Sender<f64>,
    usual_rate: f64,
    /// Services whose first replica is frozen.
    frozen: BTreeSet<Service>,
    /// How long an armed failpoint may take to be hit.
    patience: Duration,
    http: Client,
}

impl Injector {
    pub(super) fn new(stage: Stage, rate: f64, patience: Duration) -> Result<Self> {
        let http = Client::builder().timeout(Duration::from_secs(5)).build()?;
        let (rate, usual_rate) = (watch::Sender::new(rate), rate);
        Ok(Self { stage, rate, usual_rate, frozen: BTreeSet::new(), patience, http })
    }

    /// Begins a fault; gives false for a failpoint that was not hit.
    pub(super) async fn begin(&mut self, fault: Fault) -> Result<bool> {
        let System { services, rabbitmq, postgres, proxies, smtp, .. } = &mut self.stage.system;
        match fault {
            Fault::Kill(service) => {
                services.process(service.as_str())?.kill()?;
                services.resume(service.as_str())?;
            }
            Fault::Pause(service) => services.process(service.as_str())?.signal(Signal::STOP)?,
            Fault::LeaderFrozen(service) => self.freeze(service)?,
            Fault::PermissionTaken(service) => self.may_publish(service, false).await?,
            Fault::Crash(service, point) => {
                fs::write(self.stage.failpoint_file(service), point.to_string())?;
                return self.await_death(service).await;
            }
            Fault::BrokerRestart => rabbitmq.restart().await?,
            Fault::BrokerKill => {
                rabbitmq.process.kill()?;
                rabbitmq.resume().await?;
            }
            Fault::ConnectionsClosed => rabbitmq.control(&["close_all_connections", "chaos"]).await?,
            Fault::MemoryAlarm => rabbitmq.control(&["set_vm_memory_high_watermark", "0.00001"]).await?,
            Fault::DiskAlarm => rabbitmq.control(&["set_disk_free_limit", "1000000GB"]).await?,
            Fault::DatabaseRestart => postgres.restart(Shutdown::Immediate).await?,
            Fault::SessionsTerminated => terminate_sessions(&postgres.superuser_url()).await?,
            Fault::Network(service, dependency, fault) => proxies[&(service, dependency)].inject(fault),
            Fault::Messages(service, fault) => self.stage.message_faults[&service].inject(fault).await,
            Fault::Replicas => {
                self.stage.system.start_replicas(REPLICA)?;
            }
            Fault::Processor(misconduct) => self.misbehave(Some(misconduct)).await?,
            Fault::RecipientsDeferred => smtp.defer(true),
            Fault::Burst => {
                self.rate.send_replace(self.usual_rate * BURST);
            }
        }
        Ok(true)
    }

    /// Ends a fault that lasts.
    pub(super) async fn end(&mut self, fault: Fault) -> Result<()> {
        let System { services, rabbitmq, proxies, smtp, .. } = &mut self.stage.system;
        match fault {
            Fault::Pause(service) => services.process(service.as_str())?.signal(Signal::CONT)?,
            Fault::LeaderFrozen(service) => self.unfreeze(service)?,
            Fault::PermissionTaken(service) => self.may_publish(service, true).await?,
            Fault::MemoryAlarm => rabbitmq.control(&["set_vm_memory_high_watermark", MEMORY]).await?,
            Fault::DiskAlarm => rabbitmq.control(&["set_disk_free_limit", DISK]).await?,
            Fault::Network(service, dependency, _) => proxies[&(service, dependency)].restore(),
            Fault::Messages(service, _) => self.stage.message_faults[&service].restore().await,
            Fault::Replicas => {
                for service in Service::ALL.iter().copied() {
                    services.process(&replica(service, REPLICA))?.kill()?;
                }
            }
            Fault::Processor(_) => self.misbehave(None).await?,
            Fault::RecipientsDeferred => smtp.defer(false),
            Fault::Burst => {
                self.rate.send_replace(self.usual_rate);
            }
            _ => {}
        }
        Ok(())
    }

    /// Starts a second replica of every service, unless there is one, and freezes the first of this one.
    fn freeze(&mut self, service: Service) -> Result<()> {
        if self.frozen.is_empty() {
            self.stage.system.start_replicas(SUCCESSOR)?;
        }
        self.frozen.insert(service);
        self.stage.system.services.process(service.as_str())?.signal(Signal::STOP)
    }

    fn unfreeze(&mut self, service: Service) -> Result<()> {
        let services = &mut self.stage.system.services;
        services.process(service.as_str())?.signal(Signal::CONT)?;
        self.frozen.remove(&service);
        if self.frozen.is_empty() {
            for service in Service::ALL.iter().copied() {
                services.process(&replica(service, SUCCESSOR))?.kill()?;
            }
        }
        Ok(())
    }

    /// Gives the service's user its right to publish events, or takes it away. The broker looks at the rights of a
    /// connection once, so all of them are closed.
    async fn may_publish(&self, service: Service, may: bool) -> Result<()> {
        let definitions = system::definitions(VHOST);
        let of_service = |rights: &&Value| rights["user"] == service.as_str();
        let rights = definitions["topic_permissions"].as_array().into_iter().flatten().find(of_service);
        let rights = rights.with_context(|| format!("{service} has no rights"))?;
        let read = rights["read"].as_str().unwrap_or_default();
        let write = if may { rights["write"].as_str().unwrap_or_default() } else { "^$" };
        let rabbitmq = &self.stage.system.rabbitmq;
        let set = ["set_topic_permissions", "-p", VHOST, service.as_str(), EVENTS_EXCHANGE, write, read];
        rabbitmq.control(&set).await?;
        rabbitmq.control(&["close_all_connections", "chaos"]).await
    }

    /// Waits until the service has died at the armed failpoint, and restarts it; false when it does not die.
    async fn await_death(&mut self, service: Service) -> Result<bool> {
        let deadline = Instant::now() + self.patience;
        while self.stage.system.services.process(service.as_str())?.exited()?.is_none() {
            // Without the file it was hit just now.
            if Instant::now() > deadline && fs::remove_file(self.stage.failpoint_file(service)).is_ok() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        self.stage.system.services.resume(service.as_str())?;
        Ok(true)
    }

    async fn misbehave(&self, misconduct: Option<Misconduct>) -> Result<()> {
        let faults = match misconduct {
            Some(Misconduct::Slow) => json!({"latency_ms": 1_000}),
            Some(Misconduct::Failing) => json!({"error_rate": 0.5}),
            Some(Misconduct::Forgetful) => json!({"timeout_rate": 0.25, "timeout_after_effect_rate": 0.33}),
            Some(Misconduct::Refusing) => json!({"refused_rate": 0.5}),
            Some(Misconduct::Expiring) => json!({"expired_rate": 0.5}),
            Some(Misconduct::Misstating) => json!({"wrong_answer_rate": 0.5}),
            None => json!({}),
        };
        let put = self.http.put(format!("{}/faults", self.stage.system.url(PROVIDER))).json(&faults);
        put.send().await?.error_for_status().context("the card processor's faults")?;
        Ok(())
    }
}

fn replica(service: Service, number: usize) -> String {
    format!("{service}-{number}")
}

/// Whether a process of that name is a second replica, which is not restarted.
pub(super) fn is_replica(name: &str) -> bool {
    [REPLICA, SUCCESSOR].iter().any(|number| name.ends_with(&format!("-{number}")))
}

async fn terminate_sessions(url: &str) -> Result<()> {
    let mut conn = PgConnection::connect(url).await?;
    let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid()";
    sqlx::query(terminate).execute(&mut conn).await?;
    Ok(conn.close().await?)
}
