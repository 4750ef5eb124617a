//! The breaker of a job queue: while the dependency fails, its jobs wait, and health notes and metrics say so.

use std::sync::Arc;
use std::time::Duration;

use messaging::breaker::{BreakerConfig, PROBES};
use sqlx::types::Uuid;
use system::Service;
use testkit::world::Servers;
use testkit::{World, eventually};

use testkit::fixture::{Replica, ServiceFixture, short_delays};
use testkit::scripted_worker::{BREAKER, Ending, ScriptedWorker, order_job_at, order_job_of};

const LEASE: Duration = Duration::from_secs(600);
const JOBS: i64 = 50;
/// Calls of the scripted_worker at once.
const CONCURRENCY: u64 = 4;

async fn stage() -> (World, ServiceFixture) {
    let world = World::bare(Servers::shared()).await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    let backlog = "insert into messaging.jobs (id, queue, key, payload)
                   select gen_random_uuid(), 'errands', gen_random_uuid(), '{}' from generate_series(1, 50)";
    for statement in ["create table outcomes (job_id uuid not null)", backlog] {
        sqlx::query(statement).execute(&fixture.pool).await.expect(statement);
    }
    (world, fixture)
}

/// The same with every call failing, once the breaker is open; no probe is due during the test.
async fn stage_open(dependency: &'static str) -> (World, ServiceFixture, Arc<ScriptedWorker>, Replica) {
    let (world, fixture) = stage().await;
    let scripted_worker = ScriptedWorker::new([Ending::Trouble; 1000]);
    let breaker = BreakerConfig { pause: LEASE, pause_cap: LEASE, ..BREAKER };
    let replica = scripted_worker.start_behind(dependency, breaker, &fixture, LEASE);
    eventually("an open breaker", async || {
        let now = state(dependency);
        if now == 2 { Ok(()) } else { Err(now) }
    })
    .await;
    (world, fixture, scripted_worker, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_probes_are_claimed_until_the_dependency_recovers() {
    const DEPENDENCY: &str = "weather-station";
    let (_world, fixture) = stage().await;
    let scripted_worker = ScriptedWorker::new([Ending::Trouble; 1000]);
    let replica = scripted_worker.start_behind(DEPENDENCY, BREAKER, &fixture, LEASE);
    eventually("several tries", async || {
        let tries = transitions(DEPENDENCY, "half_open");
        if tries >= 4 { Ok(()) } else { Err(tries) }
    })
    .await;
    let calls = scripted_worker.calls().len() as u64;
    let tries = transitions(DEPENDENCY, "half_open");
    // Those in flight when it opened, and the probes since.
    let most = (u64::from(BREAKER.failures) - 1 + CONCURRENCY) + tries * PROBES as u64;
    assert!(calls <= most, "{calls} calls, at most {most} in {tries} tries");
    assert_eq!(fixture.count("select count(*) from messaging.jobs").await, JOBS);
    assert!(fixture.count("select count(*) from messaging.jobs where attempts = 0").await > 0);
    assert!(transitions(DEPENDENCY, "open") >= 4);
    assert_eq!(transitions(DEPENDENCY, "closed"), 0);
    let notes = replica.host.health.notes();
    assert!(notes[DEPENDENCY].ends_with(": out of order"), "open or half-open: {notes:?}");

    scripted_worker.recover();
    eventually("no job left", async || {
        let jobs = fixture.count("select count(*) from messaging.jobs").await;
        if jobs == 0 { Ok(()) } else { Err(jobs) }
    })
    .await;
    assert_eq!((transitions(DEPENDENCY, "closed"), state(DEPENDENCY)), (1, 0));
    assert!(replica.host.health.notes().is_empty());
    assert_eq!(fixture.count("select count(*) from outcomes").await, JOBS);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_while_the_breaker_is_open() {
    const DEPENDENCY: &str = "lighthouse";
    let (_world, fixture, scripted_worker, replica) = stage_open(DEPENDENCY).await;
    eventually("the calls of all that were claimed to end", async || {
        let claimed = fixture.count("select sum(attempts) from messaging.jobs").await;
        let ended = scripted_worker.ended() as i64;
        if ended == claimed { Ok(()) } else { Err((claimed, ended)) }
    })
    .await;
    let calls = scripted_worker.calls();
    for _ in 0..10 {
        order_job_at(&fixture, &replica.host.unit_of_work).await;
    }
    eventually("the last job to have waited for several polls", async || {
        let waited = "select count(*) from messaging.jobs where created_at > now() - interval '1 second'";
        let fresh = fixture.count(waited).await;
        if fresh == 0 { Ok(()) } else { Err(fresh) }
    })
    .await;
    assert_eq!(scripted_worker.calls(), calls);
    assert_eq!(fixture.count("select count(*) from messaging.jobs").await, JOBS + 10);
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_fails_holds_no_other_lane_back() {
    const DEPENDENCY: &str = "harbour";
    let (_world, fixture, scripted_worker, replica) = stage_open(DEPENDENCY).await;
    scripted_worker.recover();
    order_job_of(&fixture, Uuid::from_u128(1), "north").await;
    eventually("the job of the other lane to be done", async || {
        let outcomes = fixture.count("select count(*) from outcomes").await;
        if outcomes >= 1 { Ok(()) } else { Err(outcomes) }
    })
    .await;
    assert_eq!(state(DEPENDENCY), 2, "the gauge shows the worst lane");
    assert!(fixture.count("select count(*) from messaging.jobs where lane = ''").await > JOBS - 10);
    let notes = replica.host.health.notes();
    assert!(notes[DEPENDENCY].starts_with("failing, its jobs wait"), "{notes:?}");
    replica.stop().await;
}

/// How often the breaker went to that state.
fn transitions(dependency: &str, to: &str) -> u64 {
    let families = prometheus::default_registry().gather();
    let counters = families.iter().filter(|family| family.name() == "messaging_breaker_transitions_total");
    let counter = counters.flat_map(|family| family.get_metric()).find(|metric| {
        let has = |name: &str, value: &str| {
            metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
        };
        has("dependency", dependency) && has("to", to)
    });
    counter.map_or(0, |metric| metric.get_counter().get_value() as u64)
}

/// The breaker's state as the gauge shows it.
fn state(dependency: &str) -> i64 {
    let families = prometheus::default_registry().gather();
    let gauges = families.iter().filter(|family| family.name() == "messaging_breaker_state");
    let gauge = gauges
        .flat_map(|family| family.get_metric())
        .find(|metric| metric.get_label().iter().any(|label| label.value() == dependency));
    gauge.map_or(-1, |metric| metric.get_gauge().get_value() as i64)
}
