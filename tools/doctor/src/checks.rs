//! Every check: what it looks at, and how it judges what was seen.

mod judge;
#[cfg(test)]
mod tests;
mod topology;

use amqp::topology::{EVENT_STREAM, events_queue};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;
use system::{Reads, Service};

use self::judge::{broker, databases, judge, runs, skipping};
use self::topology::{bindings, queues};
use super::Verdict::{self, Fine, Hint, NotChecked, Wrong};
use super::broker::ClusterNode;
use super::{Asked, Seen};

const OLDEST_POSTGRES: i32 = 15;
const OLDEST_RABBITMQ: (u32, u32) = (3, 10);
/// An event that waits for longer is stuck.
const OLD_EVENT_SECONDS: f64 = 60.0;
/// Deadlines, leases and timelines compare times of several clocks.
const CLOCK_LIMIT: TimeDelta = TimeDelta::seconds(1);

const SEE_SERVICE: &str = "see /health/parts and the log of the service";

#[derive(Debug, Serialize)]
pub struct Check {
    /// Its name, for people and for tests.
    pub name: &'static str,
    pub looks_at: &'static str,
    #[serde(skip)]
    pub(super) judge: fn(&Seen) -> Verdict,
}

const fn check(name: &'static str, looks_at: &'static str, judge: fn(&Seen) -> Verdict) -> Check {
    Check { name, looks_at, judge }
}

/// The checks, those first that others depend on.
pub const CHECKS: &[Check] = &[
    check("services answer", "/health/live of each service and of the card processor", services_answer),
    check("Postgres answers", "a connection to each service's database", postgres_answers),
    check("Postgres is new enough", "its version", postgres_is_new_enough),
    check("databases are migrated", "the newest table of the schema messaging", databases_are_migrated),
    check("databases are their owners'", "who owns each, and which service may connect", databases_are_owned),
    check("RabbitMQ answers", "its management API, and a connection by AMQP", rabbitmq_answers),
    check("RabbitMQ is new enough", "its version", rabbitmq_is_new_enough),
    check("RabbitMQ has room", "free disk space, its limit, and the alarms", rabbitmq_has_room),
    check("users have their rights", "tags and permissions on the broker", users_have_their_rights),
    check("queues are as declared", "exchanges, queues and their arguments", queues),
    check("queues are bound", "the bindings of every queue", bindings),
    check("clocks agree", "the clocks of this machine, Postgres, RabbitMQ and the services", clocks_agree),
    check("relays lead", "the lease in each database with an outbox", relays_lead),
    check("queues have consumers", "consumers of each queue and of the event stream", queues_have_consumers),
    check("outboxes drain", "the oldest event that is not published", outboxes_drain),
    check("no dead letters wait", "messages that failed for good", no_dead_letters_wait),
    check("messages are supported", "messages that wait for a newer build", every_message_is_supported),
];

fn services_answer(seen: &Seen) -> Verdict {
    let faults = seen.services.iter().filter_map(|site| site.answer.clone().err());
    let advice = "start what is missing (scripts/up), and free ports that others hold";
    judge(faults, advice, format!("{} of them", seen.services.len()))
}

fn postgres_answers(seen: &Seen) -> Verdict {
    let away =
        |(service, database): (&Service, &Asked<_>)| Some((*service, database.as_ref().err()?.clone()));
    let away: Vec<_> = seen.databases.iter().filter_map(away).collect();
    let advice = "start Postgres (scripts/up), or correct AUDIT_POSTGRES_URL";
    match away.first() {
        // One server, one reason.
        Some((_, error)) if away.len() == seen.databases.len() => {
            Wrong(format!("no database can be opened ({error}): {advice}"))
        }
        _ => {
            let faults = away.iter().map(|(service, error)| format!("the database of {service}: {error}"));
            judge(faults, advice, format!("{} databases", seen.databases.len()))
        }
    }
}

fn postgres_is_new_enough(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let version =
            all.iter().map(|(_, database)| database.facts.version / 10_000).min().unwrap_or_default();
        if version < OLDEST_POSTGRES {
            return Wrong(format!("it is {version}: install {OLDEST_POSTGRES} or newer"));
        }
        Fine(version.to_string())
    })
}

fn databases_are_migrated(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let old = all.iter().filter(|(_, database)| !database.facts.migrated);
        let faults = old.map(|(service, _)| format!("the database of {service} is not up to date"));
        let advice = "start the service, which migrates it, and see its log";
        judge(faults, advice, format!("{} of them", all.len()))
    })
}

fn databases_are_owned(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let mut faults = Vec::new();
        for (service, database) in all {
            let facts = &database.facts;
            if facts.owner != service.as_str() {
                faults.push(format!("the database of {service} is {}'s", facts.owner));
            }
            if !facts.open_to.is_empty() {
                faults.push(format!("the database of {service} is open to {}", facts.open_to.join(", ")));
            }
        }
        judge(faults, "grant and revoke as in deploy/postgres/init.sql", format!("{} of them", all.len()))
    })
}

fn rabbitmq_answers(seen: &Seen) -> Verdict {
    let management = seen.broker.as_ref().err();
    let management = management.map(|error| format!("its management API does not answer ({error})"));
    let amqp = seen.depths.as_ref().err().map(|error| format!("no connection by AMQP ({error})"));
    let faults = management.into_iter().chain(amqp);
    let advice = "start RabbitMQ (scripts/up), or correct ADMIN_MANAGEMENT_URL and AUDIT_AMQP_URL";
    judge(faults, advice, format!("vhost {}", seen.vhost))
}

fn rabbitmq_is_new_enough(seen: &Seen) -> Verdict {
    broker(seen, |broker| {
        let mut numbers = broker.version.split('.').map_while(|number| number.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if version < OLDEST_RABBITMQ {
            let (major, minor) = OLDEST_RABBITMQ;
            return Wrong(format!("it is {}: install {major}.{minor} or newer", broker.version));
        }
        Fine(broker.version.clone())
    })
}

fn rabbitmq_has_room(seen: &Seen) -> Verdict {
    broker(seen, |broker| {
        let (mut faults, mut hints, mut fine) = (Vec::new(), Vec::new(), Vec::new());
        for ClusterNode { name, disk_free, disk_free_limit, disk_free_alarm, mem_alarm, .. } in &broker.nodes
        {
            let (Some(free), Some(limit)) = (*disk_free, *disk_free_limit) else {
                faults.push(format!("{name} does not run, or does not report its disk space: see its log"));
                continue;
            };
            let disk = format!(
                "{name} has {} of disk space, and blocks publishers at {}",
                megabytes(free),
                megabytes(limit)
            );
            if *disk_free_alarm || free <= limit {
                faults.push(format!("{disk}: free some"));
            } else if *mem_alarm {
                faults.push(format!("{name} is out of memory, and blocks publishers: give it more"));
            } else if free / 2 < limit {
                hints.push(format!("{disk}: free some soon"));
            } else {
                fine.push(disk);
            }
        }
        match (faults.is_empty(), hints.is_empty()) {
            (false, _) => Wrong(faults.join("; ")),
            (true, false) => Hint(hints.join("; ")),
            (true, true) => Fine(fine.join("; ")),
        }
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

/// Where definitions list rights: the list, the keys of an item, and the fields to compare.
const RIGHTS: [(&str, &[&str], &[&str]); 3] = [
    ("users", &["name"], &["tags"]),
    ("permissions", &["user", "vhost"], &["configure", "write", "read"]),
    ("topic_permissions", &["user", "vhost", "exchange"], &["write", "read"]),
];

fn users_have_their_rights(seen: &Seen) -> Verdict {
    broker(seen, |broker| {
        let expected = system::definitions(&seen.vhost);
        let mut faults = Vec::new();
        for (list, keys, fields) in RIGHTS {
            let (what, there) =
                (list.replace('_', " "), broker.rights.get(list).map_or(&[][..], Vec::as_slice));
            for wanted in expected[list].as_array().into_iter().flatten() {
                let who = wanted[keys[0]].as_str().unwrap_or_default();
                let alike = |item: &&Value| keys.iter().all(|key| item[*key] == wanted[*key]);
                let Some(found) = there.iter().find(alike) else {
                    faults.push(format!("{who} is not among the {what}"));
                    continue;
                };
                let differing = fields.iter().filter(|field| found[**field] != wanted[**field]);
                faults.extend(differing.map(|field| format!("{who} has other {what} ({field})")));
            }
        }
        let advice = "load deploy/rabbitmq/definitions.json again (rabbitmqctl import_definitions <file>)";
        judge(faults, advice, format!("{} users", expected["users"].as_array().map_or(0, Vec::len)))
    })
}

fn clocks_agree(seen: &Seen) -> Verdict {
    let sites =
        seen.services.iter().filter_map(|site| Some((site.service.as_str(), site.answer.clone().ok()??)));
    let postgres = seen.databases.values().filter_map(|database| database.as_ref().ok()).next();
    let postgres = postgres.map(|database| ("Postgres", database.offset));
    let broker = seen.broker.as_ref().ok().and_then(|broker| Some(("RabbitMQ", broker.offset?)));
    let clocks: Vec<_> = sites.chain(postgres).chain(broker).collect();
    if clocks.is_empty() {
        return NotChecked("nobody answers".to_owned());
    }
    let off = clocks.iter().filter_map(|(whose, offset)| Some((whose, offset.beyond(CLOCK_LIMIT)?)));
    let faults = off.map(|(whose, by)| format!("{whose} is {by} of this machine"));
    judge(faults, "synchronise both by NTP", format!("{} of them with this machine's", clocks.len()))
}

fn relays_lead(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let (mut faults, mut stopped, mut led) = (Vec::new(), Vec::new(), 0);
        for (service, database) in all.iter().filter(|(service, _)| service.has_queue()) {
            match database.backlog.as_ref().is_some_and(|backlog| backlog.relay_leads) {
                true => led += 1,
                false if runs(seen, *service) => faults.push(format!("no relay of {service} leads")),
                false => stopped.push(format!("{service} does not run")),
            }
        }
        skipping(&stopped, judge(faults, SEE_SERVICE, format!("{led} of them")))
    })
}

fn queues_have_consumers(seen: &Seen) -> Verdict {
    let other = topology::faulty_queues(seen);
    let (mut faults, mut skipped, mut fine) = (Vec::new(), Vec::new(), 0);
    for service in Service::ALL.iter().filter(|service| service.reads() != Reads::Nothing) {
        let (queue, consumed) = consumed(seen, *service);
        match consumed {
            Some(true) => fine += 1,
            _ if other.contains_key(&queue) => skipped.push(format!("{queue} is not as declared")),
            _ if !runs(seen, *service) => skipped.push(format!("{service} does not run")),
            Some(false) => faults.push(format!("nobody consumes {queue}")),
            None => skipped.push("RabbitMQ does not answer".to_owned()),
        }
    }
    skipping(&skipped, judge(faults, SEE_SERVICE, format!("{fine} queues")))
}

/// What a service consumes, and whether somebody does; `None` when that is unknown.
fn consumed(seen: &Seen, service: Service) -> (String, Option<bool>) {
    if service.has_queue() {
        let queue = events_queue(service.as_str());
        let depth = seen.depths.as_ref().ok().and_then(|depths| depths.get(&queue));
        let consumed = depth.map(|depth| depth.consumers > 0);
        (queue, consumed)
    } else {
        // A stream reports no consumers on its queue.
        let read = seen.broker.as_ref().ok().map(|broker| broker.consumed.contains(EVENT_STREAM));
        (EVENT_STREAM.to_owned(), read)
    }
}

fn outboxes_drain(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let backlogs =
            all.iter().filter_map(|(service, database)| Some((service, database.backlog.as_ref()?)));
        let old = backlogs.clone().filter_map(|(service, backlog)| {
            if let Some(reason) = &backlog.held_reason {
                return Some(format!("{} events of {service} are held: {reason}", backlog.held));
            }
            let age = backlog.oldest_event.filter(|age| *age > OLD_EVENT_SECONDS)?;
            Some(format!("{} events of {service} wait, the first for {age:.0} s", backlog.events))
        });
        let waiting: i64 = backlogs.clone().map(|(_, backlog)| backlog.events).sum();
        judge(old, SEE_SERVICE, format!("{waiting} events wait"))
    })
}

fn no_dead_letters_wait(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let waiting: Vec<_> = all
            .iter()
            .filter_map(|(service, database)| Some((service, database.backlog.as_ref()?.dead_letters)))
            .filter(|(_, count)| *count > 0)
            .map(|(service, count)| format!("{count} of {service}"))
            .collect();
        if waiting.is_empty() {
            return Fine("0 dead letters".to_owned());
        }
        Hint(format!("{}: see `sagactl dead-letters list`", waiting.join(", ")))
    })
}

fn every_message_is_supported(seen: &Seen) -> Verdict {
    databases(seen, |all| {
        let waiting = all.iter().filter_map(|(service, database)| {
            let backlog = database.backlog.as_ref()?;
            let (count, age) = (backlog.unsupported, backlog.oldest_unsupported?);
            Some(format!("{count} messages wait for a newer build of {service}, the first for {age:.0} s"))
        });
        let waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return Fine("0 messages wait for a newer build".to_owned());
        }
        Hint(format!(
            "{}: see `sagactl dead-letters list --waiting`, and end the rollout",
            waiting.join(", ")
        ))
    })
}
