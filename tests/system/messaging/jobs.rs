//! Jobs: calls may be repeated, outcomes are recorded once.

use std::time::Duration;

use events::Service;
use harness::world::Servers;
use harness::{World, eventually};

use super::bench::{Seat, short_delays};
use super::clerk::{Clerk, Ending, order_job};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);

async fn stage() -> (World, Seat) {
    let world = World::bare(Servers::shared()).await;
    let seat = Seat::take(&world, Service::Inventory, &short_delays()).await;
    sqlx::query("create table outcomes (job_id uuid not null)").execute(&seat.pool).await.expect("a table");
    (world, seat)
}

/// Waits until no job is left; then as many outcomes are recorded as announced.
async fn all_done(seat: &Seat, outcomes: i64) {
    eventually("no job left", async || {
        let jobs = seat.count("select count(*) from messaging.jobs").await;
        if jobs == 0 { Ok(()) } else { Err(jobs) }
    })
    .await;
    assert_eq!(seat.count("select count(*) from outcomes").await, outcomes);
    assert_eq!(seat.count("select count(distinct job_id) from outcomes").await, outcomes);
    // Nobody relays here.
    assert_eq!(seat.count("select count(*) from messaging.outbox").await, outcomes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_recorded_once_though_two_workers_did_the_call() {
    let (_world, seat) = stage().await;
    let job = order_job(&seat).await;
    let clerk = Clerk::closed([]);
    let replicas = [clerk.start(&seat, SHORT), clerk.start(&seat, SHORT)];
    clerk.has_begun(3).await;
    clerk.open();
    for replica in replicas {
        replica.stop().await;
    }
    assert!(clerk.calls().iter().all(|(called, _)| *called == job));
    all_done(&seat, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_is_recorded_once_though_one_worker_did_the_call_twice() {
    let (_world, seat) = stage().await;
    let (first, second) = (order_job(&seat).await, order_job(&seat).await);
    let clerk = Clerk::closed([]);
    let replica = clerk.start(&seat, SHORT);
    // Its lease runs out, and it claims both again.
    let calls = clerk.has_begun(4).await;
    assert_eq!(calls.iter().filter(|(job, _)| *job == second).count(), 2, "{calls:?}");
    // While it records the first, the calls for the second end: their outcomes come together.
    let lock = seat.lock("outcomes").await;
    clerk.open_only(first);
    clerk.has_ended(2).await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("a record under way", async || if seat.count(waits).await > 0 { Ok(()) } else { Err("none") })
        .await;
    clerk.open();
    clerk.has_ended(4).await;
    lock.rollback().await.expect("unlocked");
    all_done(&seat, 2).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_unknown_or_panics_is_repeated_for_the_same_job() {
    let (_world, seat) = stage().await;
    let job = order_job(&seat).await;
    let clerk = Clerk::new([Ending::Again, Ending::Panic, Ending::Again, Ending::Done]);
    let replica = clerk.start(&seat, LONG);
    all_done(&seat, 1).await;
    replica.stop().await;
    assert_eq!(clerk.calls(), [(job, 1), (job, 2), (job, 3), (job, 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_worker_that_is_killed_runs_again_after_its_lease() {
    let (_world, seat) = stage().await;
    let job = order_job(&seat).await;
    let killed = Clerk::closed([]);
    let replica = killed.start(&seat, SHORT);
    killed.has_begun(1).await;
    replica.kill().await;
    let successor = Clerk::new([]);
    let replica = successor.start(&seat, LONG);
    all_done(&seat, 1).await;
    replica.stop().await;
    let attempt = killed.calls().len() + 1;
    assert_eq!(successor.calls(), [(job, i32::try_from(attempt).expect("few"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_and_its_events_are_one_transaction() {
    let (_world, seat) = stage().await;
    let job = order_job(&seat).await;
    let clerk = Clerk::new([]);
    clerk.fail_to_record(["57P01", "40P01", "23514"]);
    let replica = clerk.start(&seat, LONG);
    all_done(&seat, 1).await;
    replica.stop().await;
    // What time heals is recorded again; only for what it does not heal, the call is repeated.
    assert_eq!(clerk.calls(), [(job, 1), (job, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_that_cannot_be_recorded_together_are_recorded_one_by_one() {
    let (_world, seat) = stage().await;
    let clerk = Clerk::closed([]);
    let replica = clerk.start(&seat, LONG);
    for _ in 0..4 {
        order_job(&seat).await;
    }
    clerk.has_begun(4).await;
    clerk.fail_to_record(["23514"]);
    clerk.open();
    all_done(&seat, 4).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_jobs_wait_no_more_are_claimed_than_may_run_at_once() {
    let (_world, seat) = stage().await;
    // Statistics of a queue that was empty, and a backlog that came since: what an overload looks like.
    let backlog = "insert into messaging.jobs (id, queue, key, payload)
                   select gen_random_uuid(), 'errands', gen_random_uuid(), '{}' from generate_series(1, 200)";
    for statement in ["analyze messaging.jobs", backlog] {
        sqlx::query(statement).execute(&seat.pool).await.expect(statement);
    }
    let clerk = Clerk::closed([]);
    let replica = clerk.start(&seat, LONG);
    clerk.has_begun(4).await;
    assert_eq!(seat.count("select count(*) from messaging.jobs where attempts > 0").await, 4);
    clerk.open();
    all_done(&seat, 200).await;
    replica.stop().await;
    assert_eq!(clerk.calls().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_calls_in_flight_and_records_them() {
    let (_world, seat) = stage().await;
    order_job(&seat).await;
    let clerk = Clerk::closed([]);
    let replica = clerk.start(&seat, LONG);
    clerk.has_begun(1).await;
    let shutdown = replica.node.shutdown.clone();
    let end = async {
        shutdown.cancelled().await;
        clerk.open();
    };
    futures::join!(replica.stop(), end);
    all_done(&seat, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_late_leaves_the_job_to_the_one_that_has_it_now() {
    let (_world, seat) = stage().await;
    let job = order_job(&seat).await;
    let (late, other) = (Clerk::closed([Ending::Again; 4]), Clerk::closed([]));
    let late_replica = late.start(&seat, SHORT);
    late.has_begun(1).await;
    // It claims nothing more, and waits for its call.
    late_replica.node.shutdown.cancel();
    let other_replica = other.start(&seat, LONG);
    other.has_begun(1).await;
    late.open();
    late_replica.stop().await;
    let undisturbed = "select count(*) from messaging.jobs where last_error is null and run_at > now() + interval '1 minute'";
    assert_eq!(seat.count(undisturbed).await, 1, "the lease holds");
    other.open();
    all_done(&seat, 1).await;
    other_replica.stop().await;
    assert!(other.calls().iter().all(|(called, _)| *called == job));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_on_after_connections_to_the_database_fell_silent() {
    let (_world, seat) = stage().await;
    let (behind, proxy) = seat.behind_proxy().await;
    let clerk = Clerk::new([]);
    let replica = clerk.start(&behind, LONG);
    order_job(&seat).await;
    all_done(&seat, 1).await;
    // The worker asks several times a second, on a connection that answers no more, and whose end nobody tells.
    proxy.forget_connections();
    order_job(&seat).await;
    all_done(&seat, 2).await;
    replica.stop().await;
}
