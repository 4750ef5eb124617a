//! Idempotency keys, on a real Postgres.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use axum::http::StatusCode;
use chrono::TimeDelta;
use http_api::idempotency::{
    Begin, Key, StoredResponse, begin, begin_all, complete, prune, release, while_in_flight,
};
use runtime::clock;
use sqlx::PgPool;
use testkit::{World, world::Servers};
use tokio::time::Instant;

/// A request under a key.
fn request(key: &str) -> Key {
    Key { key: key.to_owned(), fingerprint: [7; 32] }
}

async fn database() -> (World, PgPool) {
    let world = World::bare(Servers::shared()).await;
    world.database_url("order").await;
    let pool = world.pool("order").await;
    runtime::database::migrate(&pool, &http_api::MIGRATIONS).await.expect("migrated");
    (world, pool)
}

fn answer() -> StoredResponse {
    StoredResponse {
        status: StatusCode::ACCEPTED,
        location: Some("/api/v1/orders/1".to_owned()),
        body: vec![b'{', 0xff, 0, b'}'],
    }
}

/// Answers a fresh request under the key.
async fn answered(pool: &PgPool, key: &str) {
    let mut tx = runtime::database::begin(pool).await.expect("a transaction");
    assert!(matches!(begin(&mut tx, &request(key)).await.expect("begun"), Begin::Fresh));
    complete(&mut tx, key, &answer()).await.expect("kept");
    tx.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_first_answer_and_another_is_refused() {
    let (_world, pool) = database().await;
    answered(&pool, "key").await;
    let mut tx = runtime::database::begin(&pool).await.expect("a transaction");
    match begin(&mut tx, &request("key")).await.expect("begun") {
        Begin::Replay(replayed) => assert_eq!(replayed, answer()),
        other => panic!("{other:?}"),
    }
    // The first transaction still reads it.
    let mut beside = runtime::database::begin(&pool).await.expect("a transaction");
    let begun = begin(&mut beside, &request("key")).await.expect("begun");
    assert!(matches!(begun, Begin::Replay(_)), "{begun:?}");
    let other = Key { fingerprint: [8; 32], ..request("key") };
    assert!(matches!(begin(&mut tx, &other).await.expect("begun"), Begin::Mismatch));
    assert!(matches!(begin(&mut tx, &request("another key")).await.expect("begun"), Begin::Fresh));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_keys_each_is_told_its_own() {
    let (_world, pool) = database().await;
    answered(&pool, "known").await;
    answered(&pool, "used").await;
    let used = Key { fingerprint: [8; 32], ..request("used") };
    let (known, fresh, refused) = (request("known"), request("fresh"), request("refused"));
    let keys = [&used, &fresh, &known, &refused];
    let mut tx = runtime::database::begin(&pool).await.expect("a transaction");
    let begun = begin_all(&mut tx, &keys).await.expect("begun");
    assert_eq!(begun.len(), 4);
    assert!(matches!(&begun["known"], Begin::Replay(first) if *first == answer()));
    assert!(matches!(begun["used"], Begin::Mismatch));
    assert!(matches!(begun["fresh"], Begin::Fresh));
    assert!(matches!(begun["refused"], Begin::Fresh));
    complete(&mut tx, "fresh", &answer()).await.expect("kept");
    release(&mut tx, &["refused", "used"]).await.expect("released");
    tx.commit().await.expect("committed");

    let mut tx = runtime::database::begin(&pool).await.expect("a transaction");
    let begun = begin_all(&mut tx, &[&fresh, &refused, &request("used")]).await.expect("begun");
    assert!(matches!(&begun["used"], Begin::Replay(first) if *first == answer()), "the first request's");
    assert!(matches!(&begun["fresh"], Begin::Replay(first) if *first == answer()));
    assert!(matches!(begun["refused"], Begin::Fresh), "its key is free");
}

async fn begun(pool: &PgPool) -> Begin {
    let mut tx = runtime::database::begin(pool).await.expect("a transaction");
    begin(&mut tx, &request("key")).await.expect("begun")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_key_another_one_holds_is_in_flight_and_waits_for_nobody() {
    for commit in [true, false] {
        let (_world, pool) = database().await;
        let mut first = runtime::database::begin(&pool).await.expect("a transaction");
        assert!(matches!(begin(&mut first, &request("key")).await.expect("begun"), Begin::Fresh));

        let mut second = runtime::database::begin(&pool).await.expect("a transaction");
        let (held, other) = (request("key"), request("another key"));
        let both = begin_all(&mut second, &[&held, &other]).await.expect("begun");
        assert!(matches!(both["key"], Begin::InFlight), "{both:?}");
        assert!(matches!(both["another key"], Begin::Fresh), "others in its batch go on: {both:?}");
        second.rollback().await.expect("ended");

        complete(&mut first, "key", &answer()).await.expect("kept");
        if commit {
            first.commit().await.expect("ended");
            let told = begun(&pool).await;
            assert!(matches!(&told, Begin::Replay(replayed) if *replayed == answer()), "{told:?}");
        } else {
            first.rollback().await.expect("ended");
            let told = begun(&pool).await;
            assert!(matches!(told, Begin::Fresh), "{told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_a_second_for_its_key_and_is_refused_then() {
    let start = Instant::now();
    let held = while_in_flight(async || Ok(None::<()>)).await;
    let problem = held.expect_err("the key is never free");
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!((problem.status(), problem.slug()), (StatusCode::CONFLICT, "idempotency-in-flight"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_pruned_after_24_hours() {
    let (_world, pool) = database().await;
    answered(&pool, "key").await;
    let now = clock::now();
    assert_eq!(prune(&pool, now + TimeDelta::hours(23)).await.expect("pruned"), 0);
    assert_eq!(prune(&pool, now + TimeDelta::hours(25)).await.expect("pruned"), 1);
}
