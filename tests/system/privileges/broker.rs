//! Every user of the broker, on every queue and every exchange.

use std::collections::BTreeSet;

use amqp::permissions::AUDITOR_USER;
use amqp::topology::{
    Argument, Binding, EVENT_STREAM, EVENTS_EXCHANGE, Exchange, Queue, Topology, own_exchange,
};
use contracts::EventType;
use futures::future::join_all;
use serde_json::json;
use system::{Reads, Service};
use testkit::World;

use super::attempt::{Attempt, Outcome, Visitor};

/// The exchange that is always there, and opens every queue.
const DEFAULT_EXCHANGE: &str = "";
/// More that are always there.
const PREDECLARED: [&str; 2] = ["amq.topic", "amq.fanout"];

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_user_is_confined_to_its_own_objects() {
    let world = World::new().await;
    let mut visitors = Vec::new();
    for user in users() {
        visitors.push((user, Visitor::enter(&world, user).await));
    }
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    // One kind of attempt after the other: in the end everything is deleted.
    for attempts in everything() {
        let rounds = visitors.iter_mut().map(|(user, visitor)| all_of(user, visitor, &attempts));
        for (user, attempt, expected, outcome) in join_all(rounds).await.into_iter().flatten() {
            seen.insert((user, format!("{outcome:?}")));
            if outcome != expected {
                wrong.push(format!("{user}: {attempt:?}: {outcome:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    for user in users() {
        for outcome in ["Done", "Refused"] {
            assert!(seen.contains(&(user, outcome.to_owned())), "{user} saw nothing {outcome}");
        }
    }
}

#[tokio::test]
async fn no_broker_user_can_grant_itself_more() {
    let world = World::new().await;
    let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
    let vhost = &world.name;
    for user in users() {
        let of_another = if user == "payment" { "order.events" } else { "payment.events" };
        let requests = [
            ("GET", "/api/definitions".to_owned(), None),
            ("GET", "/api/users".to_owned(), None),
            ("PUT", format!("/api/permissions/{vhost}/{user}"), Some(&all)),
            ("DELETE", format!("/api/topic-permissions/{vhost}/{user}"), None),
            ("DELETE", format!("/api/vhosts/{vhost}"), None),
            ("DELETE", format!("/api/queues/{vhost}/{of_another}"), None),
            ("DELETE", format!("/api/queues/{vhost}/{of_another}/contents"), None),
        ];
        for (method, path, body) in requests {
            let url = format!("{}{path}", world.management_url(user));
            let request = reqwest::Client::new().request(method.parse().expect("a method"), url);
            let answer = body.into_iter().fold(request, reqwest::RequestBuilder::json).send().await;
            let answer = answer.expect("the management API answers");
            let status = answer.status();
            let text = answer.text().await.expect("a text");
            assert!(
                status == 401 && text.contains("not_authori"),
                "{user}: {method} {path}: {status} {text}"
            );
        }
    }
}

type Tried = (&'static str, Attempt, Outcome, Outcome);

/// What came of every one of them, and what should have.
async fn all_of(user: &'static str, visitor: &mut Visitor, attempts: &[Attempt]) -> Vec<Tried> {
    let mut tried = Vec::new();
    for attempt in attempts {
        let expected = expected(user, attempt);
        tried.push((user, attempt.clone(), expected, visitor.attempt(attempt).await));
    }
    tried
}

/// Everybody but who applies the topology, and the administrator.
fn users() -> impl Iterator<Item = &'static str> {
    Service::ALL.iter().map(|service| service.as_str()).chain([AUDITOR_USER])
}

fn expected(user: &str, attempt: &Attempt) -> Outcome {
    let may = match attempt {
        Attempt::Get(queue) | Attempt::Consume(queue) | Attempt::Purge(queue) => reads(user, queue),
        Attempt::DeclareQueue(queue) => owns(user, &queue.name) && may_pass_on(user, queue),
        Attempt::DeleteQueue(name) | Attempt::DeleteExchange(name) => owns(user, name),
        Attempt::DeclareExchange(exchange) => owns(user, &exchange.name),
        Attempt::DeclareAlternate { name, alternate } => owns(user, name) && feeds(user, alternate),
        Attempt::Bind(binding) | Attempt::Unbind(binding) => {
            let binds = owns(user, &binding.queue) || reads_stream(user) && binding.queue == EVENT_STREAM;
            binds && listens(user, &binding.exchange, &binding.routing_key)
        }
        Attempt::BindExchange { destination, source, key } => {
            feeds(user, destination) && listens(user, source, key)
        }
        Attempt::Publish { exchange, key } => publishes(user, exchange, key),
    };
    match attempt {
        Attempt::Get(queue) | Attempt::Purge(queue) if may && queue == EVENT_STREAM => {
            Outcome::NotImplemented
        }
        _ if may => Outcome::Done,
        _ => Outcome::Refused,
    }
}

/// A service with a queue owns what bears its name; analytics reads the log, and owns nothing.
fn owns(user: &str, name: &str) -> bool {
    Service::with_queue().any(|service| service.as_str() == user)
        && name.split_once('.').is_some_and(|(owner, _)| owner == user)
}

/// To read is to take away: for the broker it is one right.
fn reads(user: &str, queue: &str) -> bool {
    match user {
        AUDITOR_USER => queue == EVENT_STREAM,
        _ if reads_stream(user) => queue == EVENT_STREAM,
        service => owns(service, queue),
    }
}

fn reads_stream(user: &str) -> bool {
    user.parse().is_ok_and(|service: Service| service.reads() == Reads::EventStream)
}

/// Whether the user may have a queue get what is published there with that key.
fn listens(user: &str, exchange: &str, key: &str) -> bool {
    let subscribes = user
        .parse()
        .is_ok_and(|service: Service| service.subscriptions().iter().any(|event| event.name() == key));
    let restores = reads_stream(user) && key == "#";
    owns(user, exchange) || exchange == EVENTS_EXCHANGE && (subscribes || restores)
}

fn publishes(user: &str, exchange: &str, key: &str) -> bool {
    let publishes = EventType::ALL.iter().any(|event| event.name() == key && event.owner().as_str() == user);
    owns(user, exchange) || exchange == EVENTS_EXCHANGE && publishes
}

/// Whether the user may have an exchange get what comes from elsewhere. That who publishes events may do it, and with
/// what key it likes, is not meant: RabbitMQ looks at the key of what a user publishes, and not of what is passed on.
fn feeds(user: &str, exchange: &str) -> bool {
    owns(user, exchange)
        || exchange == EVENTS_EXCHANGE && Service::with_queue().any(|service| service.as_str() == user)
}

/// Whether the user may have the queue's dead letters go where they go.
fn may_pass_on(user: &str, queue: &Queue) -> bool {
    queue.arguments.iter().all(|(name, value)| match value {
        Argument::Text(exchange) if *name == "x-dead-letter-exchange" => feeds(user, exchange),
        _ => true,
    })
}

/// What there is to try, by kind.
fn everything() -> Vec<Vec<Attempt>> {
    let topology = system::topology();
    let queues: Vec<&str> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
    let of_queues =
        |make: fn(String) -> Attempt| queues.iter().map(|queue| make((*queue).to_owned())).collect();
    vec![
        declarations(&topology),
        publications(&topology),
        of_queues(Attempt::Get),
        of_queues(Attempt::Consume),
        bindings(&queues),
        exchange_bindings(),
        topology.bindings.iter().cloned().map(Attempt::Unbind).collect(),
        of_queues(Attempt::Purge),
        of_queues(Attempt::DeleteQueue),
        exchanges().map(Attempt::DeleteExchange).collect(),
    ]
}

/// The exchanges that have an owner or carry the events.
fn exchanges() -> impl Iterator<Item = String> {
    Service::with_queue().map(|service| own_exchange(service.as_str())).chain([EVENTS_EXCHANGE.to_owned()])
}

/// Every key of the catalogue, and all at once.
fn keys() -> impl Iterator<Item = &'static str> {
    EventType::ALL.iter().map(|event| event.name()).chain(["#"])
}

/// What is there already, what is new, and what would lead elsewhere.
fn declarations(topology: &Topology) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = topology.queues.iter().cloned().map(Attempt::DeclareQueue).collect();
    attempts.extend(topology.exchanges.iter().cloned().map(Attempt::DeclareExchange));
    for prefix in users().chain(["domain", "new"]) {
        let name = |kind: &str| format!("{prefix}.{kind}");
        attempts.push(Attempt::DeclareQueue(Queue { name: name("new"), arguments: Vec::new() }));
        attempts.push(Attempt::DeclareExchange(Exchange { name: name("new"), kind: "topic" }));
        for other in exchanges() {
            let arguments = vec![("x-dead-letter-exchange", Argument::Text(other.clone()))];
            attempts.push(Attempt::DeclareQueue(Queue { name: name(&format!("to.{other}")), arguments }));
            let name = name(&format!("or.{other}"));
            attempts.push(Attempt::DeclareAlternate { name, alternate: other });
        }
        let arguments = vec![("x-dead-letter-exchange", Argument::Text(DEFAULT_EXCHANGE.to_owned()))];
        attempts.push(Attempt::DeclareQueue(Queue { name: name("to.default"), arguments }));
    }
    attempts
}

fn publications(topology: &Topology) -> Vec<Attempt> {
    let publish =
        |exchange: &str, key: &str| Attempt::Publish { exchange: exchange.to_owned(), key: key.to_owned() };
    let mut attempts: Vec<Attempt> = keys().map(|key| publish(EVENTS_EXCHANGE, key)).collect();
    for queue in &topology.queues {
        attempts.extend(
            exchanges().filter(|exchange| exchange != EVENTS_EXCHANGE).map(|own| publish(&own, &queue.name)),
        );
        attempts.push(publish(DEFAULT_EXCHANGE, &queue.name));
    }
    attempts.extend(PREDECLARED.map(|exchange| publish(exchange, "order.placed")));
    attempts
}

/// Every queue with every exchange, and with every key of those that look at it.
fn bindings(queues: &[&str]) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for queue in queues {
        let bind = |exchange: &str, key: &str| {
            let (exchange, routing_key) = (exchange.to_owned(), key.to_owned());
            Attempt::Bind(Binding { exchange, queue: (*queue).to_owned(), routing_key })
        };
        attempts.extend(keys().map(|key| bind(EVENTS_EXCHANGE, key)));
        attempts
            .extend(exchanges().filter(|exchange| exchange != EVENTS_EXCHANGE).map(|own| bind(&own, queue)));
        attempts.extend(PREDECLARED.map(|exchange| bind(exchange, queue)));
        attempts.push(bind(DEFAULT_EXCHANGE, queue));
    }
    attempts
}

fn exchange_bindings() -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for destination in exchanges() {
        let bind = |source: &str, key: &str| {
            let (destination, source) = (destination.clone(), source.to_owned());
            Attempt::BindExchange { destination, source, key: key.to_owned() }
        };
        attempts.extend(keys().map(|key| bind(EVENTS_EXCHANGE, key)));
        attempts
            .extend(exchanges().filter(|exchange| exchange != EVENTS_EXCHANGE).map(|own| bind(&own, "key")));
        attempts.extend(PREDECLARED.map(|exchange| bind(exchange, "key")));
    }
    attempts
}
