//! The doctor must see what is wrong, and that alone: each fault here is made in a world of its own, and turns one
//! check red. What rests on it is not asked, and is no second fault.

mod impostor;

use std::time::Duration;

use crate::shop::Shop;
use amqp::permissions::{ADMIN_USER, AUDITOR_USER};
use doctor::{Examination, Sources, Verdict, examine, report};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use system::Service;
use testkit::{World, eventually, private};

use self::impostor::Impostor;
use crate::environment::process::{Variables, run};

const SERVICES: &str = "services answer";
const POSTGRES: &str = "Postgres answers";
const RIGHTS: &str = "users have their rights";
const QUEUES: &str = "queues are as declared";
const BINDINGS: &str = "queues are bound";
const CLOCKS: &str = "clocks agree";
const RELAYS: &str = "relays lead";
const CONSUMERS: &str = "queues have consumers";
const OUTBOXES: &str = "outboxes drain";

#[tokio::test(flavor = "multi_thread")]
async fn running_system_passes_every_check() {
    let shop = Shop::open().await;
    let seen = patient_of(&shop).finds(&[]).await;
    let fine = |verdict: &Verdict| matches!(verdict, Verdict::Fine(_));
    // How much disk this machine has is its own affair.
    let others = seen.findings.iter().filter(|finding| finding.check.name != "RabbitMQ has room");
    assert!(others.clone().all(|finding| fine(&finding.verdict)), "{:#?}", report::lines(&seen));
    assert_eq!(report::json(&seen)["verdict"], "all is well, by 17 checks");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_service_is_one_failed_check() {
    let mut shop = Shop::open().await;
    shop.stop(Service::Payment).await;
    let patient = patient_of(&shop);
    let seen = patient.finds(&[SERVICES]).await;
    says(&seen, SERVICES, &["payment does not answer at http://", "scripts/up"]);
    assert!(
        was_not_checked(&seen, RELAYS) && was_not_checked(&seen, CONSUMERS),
        "{:#?}",
        report::lines(&seen)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_port_is_named_with_its_holder() {
    let shop = Shop::open().await;
    let mut patient = patient_of(&shop);
    patient.at("order", &shop[Service::Payment].operations_url);
    let seen = patient.finds(&[SERVICES]).await;
    says(
        &seen,
        SERVICES,
        &[&shop[Service::Payment].operations_url, "is not order but payment", "free ports"],
    );

    let stranger = Impostor::start("", "hello").await;
    patient.at("order", &stranger.url);
    let seen = patient.finds(&[SERVICES]).await;
    let holder = format!("process {} holds it", std::process::id());
    says(&seen, SERVICES, &["is not order but another program", &holder]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_clock_is_reported_with_its_offset() {
    let shop = Shop::open().await;
    let mut patient = patient_of(&shop);
    let date = "date: Tue, 14 Nov 2023 22:13:20 GMT\r\n";
    let late = Impostor::start(date, r#"{"status": "live", "service": "payment-provider"}"#).await;
    patient.at("payment-provider", &late.url);
    let seen = patient.finds(&[CLOCKS]).await;
    says(&seen, CLOCKS, &["payment-provider is", "s behind", "NTP"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_binding_is_named() {
    let mut shop = Shop::open().await;
    // It would restore the binding.
    shop.stop(Service::Payment).await;
    let path = format!("/api/bindings/{}/e/domain.events/q/payment.events/order.placed", shop.world.name);
    assert_eq!(shop.world.management("DELETE", &path, None).await.0, 204);
    let seen = patient_of(&shop).finds(&[SERVICES, BINDINGS]).await;
    says(&seen, BINDINGS, &["order.placed -> payment.events on domain.events", "sagactl topology apply"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_or_different_queue_is_one_failed_check() {
    let mut shop = Shop::open().await;
    // It would restore the queue.
    shop.stop(Service::Inventory).await;
    let (patient, channel) = (patient_of(&shop), shop.world.channel().await);
    let queue = "inventory.dead-letters";
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
    let seen = patient.finds(&[SERVICES, QUEUES]).await;
    says(&seen, QUEUES, &["inventory.dead-letters is missing", "sagactl topology apply"]);
    assert!(was_not_checked(&seen, BINDINGS), "{:#?}", report::lines(&seen));

    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, FieldTable::default()).await.expect("declared");
    let seen = patient.finds(&[SERVICES, QUEUES]).await;
    says(&seen, QUEUES, &["inventory.dead-letters has ", "x-delivery-limit", "docs/operations.md"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_permissions_are_named_by_user() {
    let shop = Shop::open().await;
    let (world, patient) = (&shop.world, patient_of(&shop));
    let path = format!("/api/permissions/{}/auditor", world.name);
    let all = json!({"configure": "^$", "write": ".*", "read": ".*"});
    assert!(world.management("PUT", &path, Some(&all)).await.0 < 300);
    let seen = patient.finds(&[RIGHTS]).await;
    says(&seen, RIGHTS, &["auditor has other permissions (write)", "import_definitions"]);

    let path = format!("/api/topic-permissions/{}/notification", world.name);
    assert_eq!(world.management("DELETE", &path, None).await.0, 204);
    let seen = patient.finds(&[RIGHTS]).await;
    says(&seen, RIGHTS, &["notification is not among the topic permissions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn database_open_to_another_service_is_named() {
    let shop = Shop::open().await;
    let name = format!("{}_order", shop.world.name);
    execute(&shop.world, "order", &format!(r#"grant connect on database "{name}" to payment"#)).await;
    let seen = patient_of(&shop).finds(&["databases are their owners'"]).await;
    says(&seen, "databases are their owners'", &["database of order is open to payment", "init.sql"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_without_a_leader_is_named() {
    let shop = Shop::open().await;
    // The lease ends, and nobody can acquire it again.
    let sql = "update messaging.leases set until = now();
         create function messaging.refuse() returns trigger language plpgsql as $$ begin return null; end $$;
         create trigger refused before insert or update on messaging.leases
             for each row execute function messaging.refuse()";
    execute(&shop.world, "order", sql).await;
    let seen = patient_of(&shop).finds(&[RELAYS]).await;
    says(&seen, RELAYS, &["no relay of order leads", "/health/parts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_service_has_neither_leader_nor_consumer() {
    let mut shop = Shop::open().await;
    shop.stop(Service::Order).await;
    shop.stop(Service::Analytics).await;
    let order = Impostor::start("", r#"{"status": "live", "service": "order"}"#).await;
    let analytics = Impostor::start("", r#"{"status": "live", "service": "analytics"}"#).await;
    let mut patient = patient_of(&shop);
    patient.at("order", &order.url);
    patient.at("analytics", &analytics.url);
    eventually("a log that nobody reads", async || {
        let seen = patient.finds(&[RELAYS, CONSUMERS]).await;
        says(&seen, RELAYS, &["no relay of order leads"]);
        let lines = report::lines(&seen);
        let told = "nobody consumes order.events; nobody consumes domain-events.log";
        if lines.iter().any(|line| line.contains(told)) { Ok(()) } else { Err(lines) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_event_is_reported_beside_the_unavailable_service() {
    let mut shop = Shop::open().await;
    shop.stop(Service::Order).await;
    let old = "insert into messaging.outbox (event_id, routing_key, subject, body, created_at)
        values (gen_random_uuid(), 'order.placed', '', '{}', now() - interval '2 minutes')";
    execute(&shop.world, "order", old).await;
    let seen = patient_of(&shop).finds(&[SERVICES, OUTBOXES]).await;
    says(&seen, OUTBOXES, &["1 events of order wait, the first for 12"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_a_hint_and_no_failure() {
    let shop = Shop::open().await;
    let poison = json!({"properties": {}, "routing_key": "order.placed", "payload": "?", "payload_encoding": "string"});
    let path = format!("/api/exchanges/{}/domain.events/publish", shop.world.name);
    assert_eq!(shop.world.management("POST", &path, Some(&poison)).await.0, 200);
    let patient = patient_of(&shop);
    eventually("a hint", async || {
        let seen = patient.finds(&[]).await;
        let hint = Verdict::Hint(
            "1 of payment, 1 of inventory, 1 of analytics: see `sagactl dead-letters list`".to_owned(),
        );
        if seen.findings.iter().any(|finding| finding.verdict == hint) {
            Ok(())
        } else {
            Err(report::lines(&seen))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_postgres_is_one_failed_check() {
    let shop = Shop::open().await;
    let mut patient = patient_of(&shop);
    for (_, url) in &mut patient.sources.databases {
        *url = "postgres://auditor:hush@127.0.0.1:1/order".to_owned();
    }
    let seen = patient.finds(&[POSTGRES]).await;
    says(&seen, POSTGRES, &["no database can be opened (", "AUDIT_POSTGRES_URL"]);
    assert!(
        was_not_checked(&seen, RELAYS) && was_not_checked(&seen, OUTBOXES),
        "{:#?}",
        report::lines(&seen)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn full_or_unavailable_broker_is_one_failed_check() {
    let (mut rabbitmq, _folder, servers) = private::rabbitmq().await;
    let shop = Shop::open_in(World::with(servers).await, &[]).await;
    let patient = patient_of(&shop);
    rabbitmq.control(&["set_disk_free_limit", "900000GB"]).await.expect("the limit is set");
    let seen = patient.finds(&["RabbitMQ has room"]).await;
    says(&seen, "RabbitMQ has room", &["blocks publishers at 900000000 MB", "free some"]);

    rabbitmq.process.kill().expect("it is killed");
    let seen = patient.finds(&["RabbitMQ answers"]).await;
    says(&seen, "RabbitMQ answers", &["management API", "AMQP", "scripts/up"]);
    assert!(
        was_not_checked(&seen, BINDINGS) && was_not_checked(&seen, CONSUMERS),
        "{:#?}",
        report::lines(&seen)
    );
}

#[tokio::test]
async fn doctor_command_prints_one_line_per_check_and_no_password() {
    let nowhere = [
        ("ORDER_OPERATIONS_URL", "http://127.0.0.1:1"),
        ("AUDIT_POSTGRES_URL", "postgres://auditor:hush@127.0.0.1:1"),
        ("AUDIT_AMQP_URL", "amqp://auditor:hush@127.0.0.1:1/shop"),
        ("ADMIN_MANAGEMENT_URL", "http://admin:hush@127.0.0.1:1"),
    ];
    let variables: Variables =
        nowhere.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let ended = run("sagactl", &["doctor"], &variables).await;
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(1), 18), "{ended:?}");
    assert!(!ended.stdout.contains("hush"), "{ended:?}");
}

/// Somebody whom the doctor sees.
struct Patient {
    sources: Sources,
}

fn patient_of(shop: &Shop) -> Patient {
    let services = shop.programs();
    let sources = shop.sources();
    Patient {
        sources: Sources {
            services: services
                .map(|(name, service)| (name.to_owned(), service.operations_url.clone()))
                .collect(),
            databases: sources.databases,
            amqp_url: shop.world.amqp_url(AUDITOR_USER),
            management_url: shop.world.management_url(ADMIN_USER),
        },
    }
}

impl Patient {
    /// Sends the doctor to another address of a service.
    fn at(&mut self, service: &str, url: &str) {
        for (name, address) in &mut self.sources.services {
            if name == service {
                *address = url.to_owned();
            }
        }
    }

    /// Waits until the doctor finds exactly these checks red.
    async fn finds(&self, wrong: &[&str]) -> Examination {
        eventually(&format!("{wrong:?} and nothing else"), async || {
            let seen = examine(&self.sources, Duration::ZERO).await.expect("URLs");
            if seen.wrong().eq(wrong.iter().copied()) { Ok(seen) } else { Err(report::lines(&seen)) }
        })
        .await
    }
}

/// Asserts that the check's one line has all these parts.
#[track_caller]
fn says(seen: &Examination, check: &str, parts: &[&str]) {
    let lines = report::lines(seen);
    let line = lines.iter().find(|line| line.starts_with(check)).expect("a line");
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
}

fn was_not_checked(seen: &Examination, check: &str) -> bool {
    let mut findings = seen.findings.iter().filter(|finding| finding.check.name == check);
    findings.any(|finding| matches!(finding.verdict, Verdict::NotChecked(_)))
}

/// Does something to a service's database as superuser.
async fn execute(world: &World, service: &str, sql: &str) {
    let mut admin = PgConnection::connect(&world.admin_database_url(service).await).await.expect("Postgres");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.expect("done");
}
