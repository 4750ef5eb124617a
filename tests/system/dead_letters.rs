//! Dead letters in the hands of a person: `sagactl dead-letters` against the real servers.

mod log;
mod many;
mod refusals;

use contracts::{Envelope, OrderId};
use serde_json::Value;
use system::Service;
use testkit::World;

use crate::environment::process::{self, Ended, Variables};
use testkit::facts::{envelope, new_order, placed};
use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::raw_publisher::RawPublisher;
use testkit::recorder::{Fault, Recorder};

/// The first try, and one for each of three retry delays.
const TRIES: usize = 4;

/// A service in a world of its own, a way past it, and a person with the `sagactl` command.
struct Stage {
    fixture: ServiceFixture,
    raw_publisher: RawPublisher,
    recorder: Recorder,
    world: World,
    variables: Variables,
}

impl Stage {
    async fn set(service: Service) -> Self {
        let world = World::new().await;
        let fixture = ServiceFixture::take(&world, service, &short_delays()).await;
        let raw_publisher = RawPublisher::open(&world).await;
        let variables = [
            ("USER".to_owned(), "ada".to_owned()),
            (
                format!("{}_DATABASE_URL", service.as_str().to_uppercase()),
                world.database_url(service.as_str()).await,
            ),
        ];
        Self { fixture, raw_publisher, recorder: Recorder::default(), world, variables: variables.into() }
    }

    /// Runs `sagactl dead-letters` with the arguments, for the service of this stage.
    async fn shop(&self, arguments: &[&str]) -> Ended {
        let arguments =
            [&["dead-letters"], arguments, &["--service", self.fixture.service.as_str()]].concat();
        process::run("sagactl", &arguments, &self.variables).await
    }

    /// The same, for what must go well; gives what it said.
    async fn done(&self, arguments: &[&str]) -> String {
        let ended = self.shop(arguments).await;
        assert_eq!((ended.code, ended.complaints.len()), (Some(0), 0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    async fn list(&self) -> Vec<Value> {
        json(&self.done(&["list", "--json"]).await)
    }

    async fn history(&self) -> Vec<Value> {
        json(&self.done(&["list", "--history", "--json"]).await)
    }

    /// The id of the only dead letter.
    async fn only_id(&self) -> String {
        let dead_letters = self.list().await;
        let [dead_letter] = dead_letters.as_slice() else { panic!("not one: {dead_letters:?}") };
        dead_letter["id"].as_str().expect("an id").to_owned()
    }

    /// Has an event fail on every retry delay, and gives the replica that it failed in.
    async fn dead_letter(&self, event: &Envelope) -> Replica {
        let order = event.event.order_id().expect("an event of an order");
        self.recorder.fail(order, vec![Fault::InvalidTransition; TRIES]);
        self.raw_publisher.publish(std::slice::from_ref(event)).await;
        let replica = self.fixture.open(self.recorder.clone()).await;
        self.fixture.dead_letters(1).await;
        replica
    }

    /// Dead letters with these as the messages' ids.
    async fn have_dead_letters(&self, message_ids: &[String]) {
        sqlx::query(
            "insert into messaging.failed_messages
                 (id, source, key, message_id, headers, body, class, attempts, reason)
             select gen_random_uuid(), 'inventory.events', id::bytea, id, '{}', id::bytea, 'garbage', 0, 'poison'
             from unnest($1::text[]) as new (id)",
        )
        .bind(message_ids)
        .execute(&self.fixture.pool)
        .await
        .expect("dead letters");
    }

    /// Nothing is left anywhere.
    async fn is_clean(&self) {
        self.raw_publisher.holds(&self.fixture.events_queue(), 0).await;
        self.nothing_has_failed().await;
    }

    /// No message that failed is left.
    async fn nothing_has_failed(&self) {
        self.fixture.retries(0).await;
        self.fixture.has_no_failed_message().await;
    }
}

fn json(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect(text)
}

fn placed_for(order: OrderId) -> Envelope {
    envelope(placed(order, "BEANS", 1), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn list_distinguishes_poison_from_exhausted_retries_and_removes_nothing() {
    let stage = Stage::set(Service::Inventory).await;
    let order = new_order();
    let event = placed_for(order);
    let replica = stage.dead_letter(&event).await;
    stage.raw_publisher.send("domain.events", "order.placed", "poison", b"\x1b[2Jpoison").await;
    stage.fixture.dead_letters(2).await;
    replica.stop().await;

    let dead_letters = stage.list().await;
    let [failed, poison] = dead_letters.as_slice() else { panic!("{dead_letters:?}") };
    assert_eq!((&poison["message_id"], &poison["attempts"]), (&"poison".into(), &0.into()));
    assert!(poison["reason"].as_str().is_some_and(|reason| reason.contains("not a CloudEvents envelope")));
    assert_eq!(poison["event_type"], Value::Null);
    assert_eq!(failed["message_id"], event.id.to_string());
    assert_eq!((&failed["service"], &failed["attempts"]), (&"inventory".into(), &TRIES.into()));
    assert_eq!(failed["reason"], format!("order {order} is told to fail and cannot take this"));
    assert_eq!(failed["event_type"], "order.placed.v1");
    assert_eq!(failed["subject"], order.to_string());
    assert!(failed["failed_at"].is_string() && poison["failed_at"].is_string());

    assert_eq!(stage.list().await, dead_letters, "the same dead letters under the same ids");
    let text = stage.done(&["list"]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("when ") && lines[0].ends_with("reason"), "{text}");
    let first_lines: Vec<_> = lines.iter().filter(|line| line.contains("Z   ")).collect();
    assert_eq!(first_lines.len(), 2, "{text}");
    assert!(first_lines[0].contains("  order.placed.v1  "), "{text}");
    for dead_letter in &dead_letters {
        let start = format!("{}  ", dead_letter["id"].as_str().expect("an id"));
        assert_eq!(lines.iter().filter(|line| line.starts_with(&start)).count(), 1, "{text}");
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "{text}");

    let shown = stage.done(&["show", failed["id"].as_str().expect("an id")]).await;
    for part in ["\nattempts 4\n", "\nfrom     inventory.events\n", "\n  \"type\": \"order.placed.v1\""] {
        assert!(shown.contains(part), "{part} is not in: {shown}");
    }
    let shown = stage.done(&["show", poison["id"].as_str().expect("an id")]).await;
    assert!(shown.ends_with("body\n1b5b324a706f69736f6e\n"), "nothing that a terminal obeys: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn message_cannot_send_control_characters_to_the_terminal() {
    let stage = Stage::set(Service::Inventory).await;
    let _replica = stage.fixture.open(stage.recorder.clone()).await;
    let body = "{\"note\": \"\u{9b}2J\u{202e}\"}";
    stage.raw_publisher.send("domain.events", "order.placed", "\u{9b}poison\u{202e}", body.as_bytes()).await;
    stage.fixture.dead_letters(1).await;
    let id = stage.only_id().await;
    for arguments in [&["show", &id][..], &["list"], &["list", "--json"]] {
        let shown = stage.done(arguments).await;
        assert!(shown.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '), "{shown:?}");
    }
    assert!(stage.done(&["show", &id]).await.contains(r#""note": "\u009b2J\u202e""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_after_the_fix_succeeds_with_all_attempts_again() {
    let stage = Stage::set(Service::Inventory).await;
    let event = placed_for(new_order());
    let replica = stage.dead_letter(&event).await;
    let failing = event.event.order_id().expect("an order");
    // With the attempts that it had already, one more failure would bring it back among the dead letters.
    stage.recorder.fail(failing, [Fault::InvalidTransition]);
    let id = stage.only_id().await;
    assert_eq!(
        stage.done(&["replay", &id, "--reason", "fixed"]).await,
        "to be handled again: 1 of inventory\n"
    );
    stage.fixture.takes_effect(failing, &[1]).await;
    stage.is_clean().await;
    assert_eq!(stage.recorder.tries(failing), TRIES + 2);

    let history = stage.history().await;
    let [action] = history.as_slice() else { panic!("{history:?}") };
    for (name, value) in [
        ("action", "replay"),
        ("requested_by", "ada"),
        ("reason", "fixed"),
        ("service", "inventory"),
        ("dead_letter_id", &id),
        ("message_id", &event.id.to_string()),
        ("event_type", "order.placed.v1"),
        ("subject", &failing.to_string()),
    ] {
        assert_eq!(action[name], value, "{name}");
    }
    assert!(action["requested_at"].is_string(), "{action}");
    let text = stage.done(&["list", "--history"]).await;
    assert!(text.contains("  ada        replay  order.placed.v1"), "{text}");
    assert!(text.contains(&format!("\n{id}  inventory")), "{text}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_of_an_applied_message_changes_nothing() {
    let stage = Stage::set(Service::Inventory).await;
    let (order, event) = (new_order(), placed_for(new_order()));
    let replica = stage.dead_letter(&event).await;
    let failed = event.event.order_id().expect("an order");
    // An unsure relay published it once more.
    stage.raw_publisher.publish(std::slice::from_ref(&event)).await;
    stage.fixture.takes_effect(failed, &[1]).await;
    assert_eq!(stage.done(&["replay", "--all"]).await, "to be handled again: 1 of inventory\n");
    stage.raw_publisher.publish(&[placed_for(order)]).await;
    stage.fixture.takes_effect(order, &[1]).await;
    stage.is_clean().await;
    replica.stop().await;
    assert_eq!(stage.fixture.effects(failed).await, [1]);
    assert_eq!(stage.recorder.tries(failed), TRIES + 1, "the handler never saw it");
}

#[tokio::test(flavor = "multi_thread")]
async fn discarded_dead_letter_is_gone_and_others_stay() {
    let stage = Stage::set(Service::Inventory).await;
    stage.have_dead_letters(&["first", "second", "third"].map(str::to_owned)).await;
    let dead_letters = stage.list().await;
    let second =
        dead_letters.iter().find(|dead_letter| dead_letter["message_id"] == "second").expect("it is there");
    let id = second["id"].as_str().expect("an id");
    let said = stage.done(&["discard", id, "--reason", "a test's", "--by", "grace"]).await;
    assert_eq!(said, "discarded: 1 of inventory\n");
    stage.shop(&["show", id]).await.failed_saying(&["there is no dead letter", id, "dead-letters list"]);
    let history = stage.history().await;
    let [action] = history.as_slice() else { panic!("{history:?}") };
    assert_eq!(action["message_id"], "second");
    assert_eq!((&action["action"], &action["reason"]), (&"discard".into(), &"a test's".into()));
    assert_eq!(action["requested_by"], "grace");
    let dead_letters = stage.list().await;
    let mut left: Vec<_> = dead_letters.iter().map(|dead_letter| &dead_letter["message_id"]).collect();
    left.sort_by_key(|id| id.to_string());
    assert_eq!(left, ["first", "third"]);
}
