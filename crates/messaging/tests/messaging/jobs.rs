//! Jobs: calls may be repeated, outcomes are recorded once.

use std::collections::HashSet;
use std::time::Duration;

use devstack::NetworkFault;
use messaging::jobs::{self, Resolution, operator};
use system::Service;
use testkit::world::Servers;
use testkit::{World, eventually};

use testkit::fixture::{ServiceFixture, short_delays};
use testkit::scripted_worker::{Ending, ScriptedWorker, order_job, order_job_of};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);

async fn stage() -> (World, ServiceFixture) {
    let world = World::bare(Servers::shared()).await;
    let fixture = ServiceFixture::take(&world, Service::Inventory, &short_delays()).await;
    sqlx::query("create table outcomes (job_id uuid not null)")
        .execute(&fixture.pool)
        .await
        .expect("a table");
    (world, fixture)
}

/// Waits until no job is left; then as many outcomes are recorded as published.
async fn all_done(fixture: &ServiceFixture, outcomes: i64) {
    eventually("no job left", async || {
        let jobs = fixture.count("select count(*) from messaging.jobs").await;
        if jobs == 0 { Ok(()) } else { Err(jobs) }
    })
    .await;
    assert_eq!(fixture.count("select count(*) from outcomes").await, outcomes);
    assert_eq!(fixture.count("select count(distinct job_id) from outcomes").await, outcomes);
    // Nobody relays here.
    assert_eq!(fixture.count("select count(*) from messaging.outbox").await, outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_two_workers_record_one_outcome() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::closed([]);
    let replicas = [scripted_worker.start(&fixture, SHORT), scripted_worker.start(&fixture, SHORT)];
    scripted_worker.has_begun(3).await;
    scripted_worker.open();
    for replica in replicas {
        replica.stop().await;
    }
    assert!(scripted_worker.calls().iter().all(|(called, _)| *called == job));
    all_done(&fixture, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_of_one_worker_record_one_outcome() {
    let (_world, fixture) = stage().await;
    let (first, second) = (order_job(&fixture).await, order_job(&fixture).await);
    let scripted_worker = ScriptedWorker::closed([]);
    let replica = scripted_worker.start(&fixture, SHORT);
    // Its lease runs out, and it claims both again.
    let calls = scripted_worker.has_begun(4).await;
    assert_eq!(calls.iter().filter(|(job, _)| *job == second).count(), 2, "{calls:?}");
    // While it records the first, the calls for the second end: their outcomes come together.
    let lock = fixture.lock("outcomes").await;
    scripted_worker.open_only(first);
    scripted_worker.has_ended(2).await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually(
        "a record under way",
        async || if fixture.count(waits).await > 0 { Ok(()) } else { Err("none") },
    )
    .await;
    scripted_worker.open();
    scripted_worker.has_ended(4).await;
    lock.rollback().await.expect("unlocked");
    all_done(&fixture, 2).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_definite_outcome_is_repeated() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::new([Ending::Again, Ending::Panic, Ending::Again, Ending::Done]);
    let replica = scripted_worker.start(&fixture, LONG);
    all_done(&fixture, 1).await;
    replica.stop().await;
    assert_eq!(scripted_worker.calls(), [(job, 1), (job, 2), (job, 3), (job, 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_job_runs_again_after_its_lease() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let killed = ScriptedWorker::closed([]);
    let replica = killed.start(&fixture, SHORT);
    killed.has_begun(1).await;
    replica.kill().await;
    let successor = ScriptedWorker::new([]);
    let replica = successor.start(&fixture, LONG);
    all_done(&fixture, 1).await;
    replica.stop().await;
    let attempt = killed.calls().len() + 1;
    assert_eq!(successor.calls(), [(job, i32::try_from(attempt).expect("few"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_and_its_events_are_one_transaction() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::new([]);
    scripted_worker.fail_to_record(["57P01", "40P01", "23514"]);
    let replica = scripted_worker.start(&fixture, LONG);
    all_done(&fixture, 1).await;
    replica.stop().await;
    // A transient failure or contention repeats the record; only a permanent failure repeats the call.
    assert_eq!(scripted_worker.calls(), [(job, 1), (job, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_fail_together_are_recorded_one_by_one() {
    let (_world, fixture) = stage().await;
    let scripted_worker = ScriptedWorker::closed([]);
    let replica = scripted_worker.start(&fixture, LONG);
    for _ in 0..4 {
        order_job(&fixture).await;
    }
    scripted_worker.has_begun(4).await;
    scripted_worker.fail_to_record(["23514"]);
    scripted_worker.open();
    all_done(&fixture, 4).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_are_claimed_than_may_run() {
    let (_world, fixture) = stage().await;
    // Statistics of a queue that was empty, and a backlog that came since: what an overload looks like.
    let backlog = "insert into messaging.jobs (id, queue, key, payload)
                   select gen_random_uuid(), 'errands', gen_random_uuid(), '{}' from generate_series(1, 200)";
    for statement in ["analyze messaging.jobs", backlog] {
        sqlx::query(statement).execute(&fixture.pool).await.expect(statement);
    }
    let scripted_worker = ScriptedWorker::closed([]);
    let replica = scripted_worker.start(&fixture, LONG);
    scripted_worker.has_begun(4).await;
    assert_eq!(fixture.count("select count(*) from messaging.jobs where attempts > 0").await, 4);
    scripted_worker.open();
    all_done(&fixture, 200).await;
    replica.stop().await;
    assert_eq!(scripted_worker.calls().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_calls_in_flight_and_records_them() {
    let (_world, fixture) = stage().await;
    order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::closed([]);
    let replica = scripted_worker.start(&fixture, LONG);
    scripted_worker.has_begun(1).await;
    let shutdown = replica.host.shutdown.clone();
    let end = async {
        shutdown.cancelled().await;
        scripted_worker.open();
    };
    futures::join!(replica.stop(), end);
    all_done(&fixture, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_worker_leaves_the_job_to_its_new_owner() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let (late, other) = (ScriptedWorker::closed([Ending::Again; 4]), ScriptedWorker::closed([]));
    let late_replica = late.start(&fixture, SHORT);
    late.has_begun(1).await;
    // It claims nothing more, and waits for its call.
    late_replica.host.shutdown.cancel();
    let other_replica = other.start(&fixture, LONG);
    other.has_begun(1).await;
    late.open();
    late_replica.stop().await;
    let undisturbed = "select count(*) from messaging.jobs where last_error is null and run_at > now() + interval '1 minute'";
    assert_eq!(fixture.count(undisturbed).await, 1, "the lease holds");
    other.open();
    all_done(&fixture, 1).await;
    other_replica.stop().await;
    assert!(other.calls().iter().all(|(called, _)| *called == job));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_continue_after_database_connections_go_stale() {
    let (_world, fixture) = stage().await;
    let (behind, proxy) = fixture.behind_proxy().await;
    let scripted_worker = ScriptedWorker::new([]);
    let replica = scripted_worker.start(&behind, LONG);
    order_job(&fixture).await;
    all_done(&fixture, 1).await;
    // The worker polls several times a second, on a connection that neither answers nor ends.
    proxy.inject(NetworkFault::StaleConnections);
    order_job(&fixture).await;
    all_done(&fixture, 2).await;
    replica.stop().await;
}

/// Waits until so many jobs are parked.
async fn parked(fixture: &ServiceFixture, count: i64) {
    eventually("jobs parked", async || {
        let parked = fixture.count("select count(*) from messaging.jobs where parked_at is not null").await;
        if parked == count { Ok(()) } else { Err(parked) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_no_call_settles_waits_for_an_operator_who_has_it_tried_again() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::new([Ending::Parked, Ending::Done]);
    let replica = scripted_worker.start(&fixture, LONG);
    parked(&fixture, 1).await;
    assert_eq!(scripted_worker.calls(), [(job, 1)]);

    let mut conn = fixture.pool.acquire().await.expect("a connection");
    let row = operator::list(&mut conn, true, 10).await.expect("listed").remove(0);
    assert_eq!((row.id, row.attempts, row.last_error.as_deref()), (job, 1, Some("nobody knows")));
    assert!(operator::retry(&mut conn, job, "ada", Some("it may work now")).await.expect("asked for"));
    all_done(&fixture, 1).await;
    replica.stop().await;
    assert_eq!(scripted_worker.calls(), [(job, 1), (job, 2)]);

    let action = operator::history(&mut conn, Some(job)).await.expect("recorded").remove(0);
    let told = (action.action.as_str(), action.requested_by.as_str(), action.reason.as_deref());
    assert_eq!(told, ("retry", "ada", Some("it may work now")));
    assert!(!operator::retry(&mut conn, job, "ada", None).await.expect("asked for"), "it is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_is_recorded_as_an_outcome_without_a_call() {
    let (_world, fixture) = stage().await;
    let job = order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::new([Ending::Parked]);
    let replica = scripted_worker.start(&fixture, LONG);
    parked(&fixture, 1).await;

    let say = |outcome: &str| {
        let (outcome, reason) = (outcome.to_owned(), "seen at the dashboard".to_owned());
        Resolution { outcome, reference: None, reason }
    };
    let mut conn = fixture.pool.acquire().await.expect("a connection");
    // An outcome that it cannot have parks it again, and so does a panic.
    for (outcome, reason) in [("undone", "not undone: it is done"), ("panic", "panic: told to")] {
        assert!(operator::resolve(&mut conn, job, "ada", &say(outcome)).await.expect("said"));
        eventually("parked again", async || {
            let row = operator::find(&mut fixture.pool.acquire().await.expect("a connection"), job).await;
            let row = row.expect("found").expect("there");
            let told = row.parked_at.and(row.last_error);
            if told.as_deref() == Some(reason) { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }
    assert!(operator::resolve(&mut conn, job, "ada", &say("done")).await.expect("said"));
    all_done(&fixture, 1).await;
    replica.stop().await;
    assert_eq!(scripted_worker.calls(), [(job, 1)]);
    let actions = operator::history(&mut conn, None).await.expect("recorded");
    let outcomes: Vec<_> = actions.iter().map(|action| action.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("undone"), Some("panic"), Some("done")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_key_run_in_the_order_in_which_they_were_written() {
    let (_world, fixture) = stage().await;
    let key = sqlx::types::Uuid::from_u128(1);
    let first = order_job_of(&fixture, key, "").await;
    let second = order_job_of(&fixture, key, "").await;
    let other = order_job(&fixture).await;
    let scripted_worker = ScriptedWorker::new([Ending::Done, Ending::Again, Ending::Again]);
    let replica = scripted_worker.start(&fixture, LONG);
    all_done(&fixture, 3).await;
    replica.stop().await;
    let calls: Vec<_> = scripted_worker.calls().into_iter().map(|(job, _)| job).collect();
    let last_of = |job| calls.iter().rposition(|called| *called == job).expect("called");
    let first_of = |job| calls.iter().position(|called| *called == job).expect("called");
    assert!(last_of(first) < first_of(second), "{calls:?}");
    assert!(calls.contains(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_tried_again_leave_half_of_the_places_to_new_ones() {
    let (_world, fixture) = stage().await;
    let tried = "insert into messaging.jobs (id, queue, key, payload, attempts)
                 select gen_random_uuid(), 'errands', gen_random_uuid(), '{}', 1 from generate_series(1, 10)";
    sqlx::query(tried).execute(&fixture.pool).await.expect("a backlog");
    let scripted_worker = ScriptedWorker::closed([]);
    let replica = scripted_worker.start(&fixture, LONG);
    scripted_worker.has_begun(2).await;
    let new = [order_job(&fixture).await, order_job(&fixture).await];
    let calls = scripted_worker.has_begun(4).await;
    // Both may be claimed at once, and begin in any order.
    let begun = HashSet::from([calls[2].0, calls[3].0]);
    assert_eq!(begun, HashSet::from(new), "two of the four places are for new jobs");
    scripted_worker.open();
    all_done(&fixture, 12).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_job_that_was_never_tried_can_be_withdrawn() {
    let (_world, fixture) = stage().await;
    let [tried, new] = [1, 2].map(sqlx::types::Uuid::from_u128);
    let job = order_job_of(&fixture, tried, "").await;
    let scripted_worker = ScriptedWorker::closed([]);
    let replica = scripted_worker.start(&fixture, LONG);
    scripted_worker.has_begun(1).await;
    replica.kill().await;
    order_job_of(&fixture, new, "").await;

    let mut conn = fixture.pool.acquire().await.expect("a connection");
    let withdrawn = jobs::withdraw(&mut conn, "errands", &[tried, new]).await.expect("asked for");
    assert_eq!(withdrawn, [new]);
    assert_eq!(fixture.count("select count(*) from messaging.jobs").await, 1);
    assert!(operator::find(&mut conn, job).await.expect("asked for").is_some());
}
