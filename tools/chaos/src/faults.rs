//! Every fault, and when it is injected in a run.

use std::fmt;
use std::time::Duration;

use crate::message_faults::MessageFault;
use devstack::NetworkFault;
use messaging::failpoint::Failpoint;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use strum::{IntoEnumIterator, IntoStaticStr, VariantArray};
use system::{Dependency, Service};

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(prefix = "processor-", serialize_all = "kebab-case")]
pub enum Misconduct {
    /// Every answer takes a second.
    Slow,
    /// Half of the calls fail, with nothing done.
    Failing,
    /// Half of the calls get no answer, with or without an effect.
    Forgetful,
    /// Half of the calls are refused for good.
    Refusing,
    /// Half of the holds expire before they are taken or voided.
    Expiring,
    /// Half of the answers are over another amount.
    Misstating,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Fault {
    /// A service is killed, and started again.
    Kill(Service),
    /// A service is stopped with SIGSTOP, and goes on later.
    Pause(Service),
    /// A service is stopped with SIGSTOP for longer than a lease is valid. A second replica takes its lead, until it goes on.
    LeaderFrozen(Service),
    /// The broker user of a service may not publish any more, until it is given the right back.
    PermissionTaken(Service),
    /// A service dies at a failpoint, and is started again.
    #[strum(serialize = "failpoint")]
    Crash(Service, Failpoint),
    /// The broker is stopped and started.
    BrokerRestart,
    /// The broker is killed and started.
    BrokerKill,
    /// The broker closes every connection.
    ConnectionsClosed,
    /// The broker is short of memory, and blocks publishers.
    MemoryAlarm,
    /// The broker is short of disk space, and blocks publishers.
    DiskAlarm,
    /// Postgres is stopped at once, as by a crash, and started.
    DatabaseRestart,
    /// Every session of the services in Postgres is terminated.
    SessionsTerminated,
    /// A fault of the network on a link.
    Network(Service, Dependency, NetworkFault),
    /// A fault of the messages on their way to a service.
    Messages(Service, MessageFault),
    /// Every service has a second replica.
    Replicas,
    /// The card processor misbehaves.
    Processor(Misconduct),
    /// The mail server puts mail to half of the recipients off.
    RecipientsDeferred,
    /// Orders arrive at ten times the rate.
    Burst,
}

impl Fault {
    /// Every fault; one each of those that vary, such as a latency.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for service in Service::ALL.iter().copied() {
            all.extend([Self::Kill(service), Self::Pause(service)]);
            all.push(Self::Network(service, Dependency::Database, NetworkFault::CommitUnanswered));
            all.extend(failpoints(service).map(|point| Self::Crash(service, point)));
            for dependency in service.needs().iter().copied() {
                all.extend(NETWORK_FAULTS.map(|fault| Self::Network(service, dependency, fault)));
            }
            if service != Service::Order {
                all.push(Self::LeaderFrozen(service));
            }
            if service.has_queue() {
                all.push(Self::PermissionTaken(service));
                all.extend(MessageFault::VARIANTS.iter().map(|fault| Self::Messages(service, *fault)));
            }
        }
        all.extend([
            Self::BrokerRestart,
            Self::BrokerKill,
            Self::ConnectionsClosed,
            Self::MemoryAlarm,
            Self::DiskAlarm,
        ]);
        all.extend([Self::DatabaseRestart, Self::SessionsTerminated, Self::Replicas]);
        all.extend([Self::RecipientsDeferred, Self::Burst]);
        all.extend(Misconduct::VARIANTS.iter().copied().map(Self::Processor));
        all
    }

    /// The kind by which faults are chosen and counted.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Network(_, _, fault) => fault.into(),
            Self::Messages(_, fault) => fault.into(),
            Self::Processor(misconduct) => misconduct.into(),
            fault => fault.into(),
        }
    }

    /// The shortest and the longest duration, in milliseconds; 0 for a fault that is over at once.
    const fn lasts(self) -> (u64, u64) {
        match self {
            Self::Kill(_)
            | Self::Crash(..)
            | Self::BrokerRestart
            | Self::BrokerKill
            | Self::ConnectionsClosed
            | Self::DatabaseRestart
            | Self::SessionsTerminated => (0, 0),
            Self::Network(_, _, NetworkFault::CommitUnanswered) => (300, 2_000),
            Self::Pause(_) | Self::Network(..) => (500, 6_000),
            Self::LeaderFrozen(_) => (12_000, 60_000),
            Self::PermissionTaken(_) => (1_000, 8_000),
            Self::MemoryAlarm | Self::DiskAlarm | Self::Burst => (1_000, 3_000),
            Self::Messages(_, MessageFault::Delayed) => (2_000, 65_000),
            Self::Messages(..) => (2_000, 8_000),
            Self::Replicas => (2_000, 10_000),
            Self::Processor(_) | Self::RecipientsDeferred => (1_000, 6_000),
        }
    }

    /// The same fault, with a random latency if it has one.
    fn varied(self, random: &mut StdRng) -> Self {
        match self {
            Self::Network(service, dependency, NetworkFault::Latency(_)) => {
                let late = Duration::from_millis(random.random_range(50..=500));
                Self::Network(service, dependency, NetworkFault::Latency(late))
            }
            fault => fault,
        }
    }
}

const NETWORK_FAULTS: [NetworkFault; 6] = [
    NetworkFault::Cut,
    NetworkFault::Blackhole,
    NetworkFault::StaleConnections,
    NetworkFault::OneWay,
    NetworkFault::Latency(Duration::from_millis(200)),
    NetworkFault::Slow,
];

/// The points that a service passes: a reader of the event stream publishes nothing and acknowledges nothing that
/// counts, and only some services call the outside.
fn failpoints(service: Service) -> impl Iterator<Item = Failpoint> {
    Failpoint::iter().filter(move |point| match point {
        Failpoint::AfterBegin | Failpoint::BeforeCommit | Failpoint::AfterCommitBeforePublish => true,
        Failpoint::BeforeCall | Failpoint::AfterCall => service.calls_outside(),
        _ => service.has_queue(),
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Kill(service)
            | Self::Pause(service)
            | Self::LeaderFrozen(service)
            | Self::PermissionTaken(service)
            | Self::Messages(service, _) => write!(f, "{kind} {service}"),
            Self::Crash(service, point) => write!(f, "{kind} {service} {point}"),
            Self::Network(service, dependency, NetworkFault::Latency(late)) => {
                write!(f, "{kind} {service}-{dependency} {} ms", late.as_millis())
            }
            Self::Network(service, dependency, _) => write!(f, "{kind} {service}-{dependency}"),
            _ => f.write_str(kind),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// When it begins, from the start of the run.
    pub at: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

/// The kinds of all faults, each once.
#[must_use]
pub fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<_> = Vec::new();
    for fault in Fault::all() {
        if !kinds.contains(&fault.kind()) {
            kinds.push(fault.kind());
        }
    }
    kinds
}

/// How often a kind is chosen, compared to others: what stops everything for seconds is rare, or it would hide all else.
fn weight(kind: &str) -> u32 {
    match kind {
        "broker-restart" | "broker-kill" | "database-restart" | "replicas" | "burst" | "delayed"
        | "leader-frozen" => 1,
        "kill" | "failpoint" => 12,
        _ => 4,
    }
}

/// The faults of a run, at random times with a mean distance of `every`. The same seed gives the same plan.
#[must_use]
pub fn plan(seed: u64, run: Duration, every: Duration, chosen: &[String]) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kinds = kinds();
    kinds.retain(|kind| is_chosen(chosen, kind));
    let all = Fault::all();
    let mut steps = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        // Between none and twice the average.
        at += every.mul_f64(random.random_range(0.0..2.0));
        let Ok(kind) = kinds.choose_weighted(&mut random, |kind| weight(kind)) else { return steps };
        if at >= run {
            return steps;
        }
        let of_kind: Vec<_> = all.iter().filter(|fault| fault.kind() == *kind).collect();
        let Some(fault) = of_kind.choose(&mut random) else { return steps };
        let fault = fault.varied(&mut random);
        let (least, most) = fault.lasts();
        let lasts = Duration::from_millis(random.random_range(least..=most));
        steps.push(Step { at, fault, lasts });
    }
}

/// Every fault of the chosen kinds once, each with its shortest duration.
#[must_use]
pub fn matrix(chosen: &[String]) -> Vec<Step> {
    let chosen = Fault::all().into_iter().filter(|fault| is_chosen(chosen, fault.kind()));
    let step =
        |fault: Fault| Step { at: Duration::ZERO, fault, lasts: Duration::from_millis(fault.lasts().0) };
    chosen.map(step).collect()
}

/// Whether a kind is among the chosen ones; without a choice all are.
fn is_chosen(chosen: &[String], kind: &str) -> bool {
    chosen.is_empty() || chosen.iter().any(|name| name == kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_again_and_another_another() {
        let plan = |seed| plan(seed, Duration::from_secs(600), Duration::from_secs(2), &[]);
        assert_eq!(plan(17), plan(17));
        assert_ne!(plan(17), plan(18));
        assert!(plan(17).len() > 200, "{}", plan(17).len());
        assert!(plan(17).is_sorted_by_key(|step| step.at));
    }

    #[test]
    fn a_plan_has_only_the_kinds_that_were_chosen() {
        let chosen = ["kill".to_owned(), "slow".to_owned()];
        let plan = plan(17, Duration::from_secs(600), Duration::from_secs(2), &chosen);
        assert!(plan.iter().all(|step| chosen.iter().any(|kind| kind == step.fault.kind())));
        assert!(chosen.iter().all(|kind| plan.iter().any(|step| step.fault.kind() == kind)));
    }

    #[test]
    fn the_matrix_has_every_failpoint_of_every_service() {
        let crashes = matrix(&["failpoint".to_owned()]);
        assert_eq!(crashes.len(), 7 + 9 + 7 + 9 + 3);
        assert_eq!(matrix(&[]).len(), Fault::all().len());
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let mut words: Vec<_> = Fault::all().iter().map(ToString::to_string).collect();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), Fault::all().len());
    }
}
