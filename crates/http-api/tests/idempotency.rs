//! Idempotency keys, on a real Postgres.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use axum::http::StatusCode;
use chrono::TimeDelta;
use http_api::idempotency::{Begin, Key, StoredResponse, begin, begin_all, complete, prune, release};
use runtime::clock;
use sqlx::PgPool;
use testkit::{World, eventually, world::Servers};

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
    release(&mut tx, &["refused"]).await.expect("released");
    tx.commit().await.expect("committed");

    let mut tx = runtime::database::begin(&pool).await.expect("a transaction");
    let begun = begin_all(&mut tx, &[&fresh, &refused]).await.expect("begun");
    assert!(matches!(&begun["fresh"], Begin::Replay(first) if *first == answer()));
    assert!(matches!(begun["refused"], Begin::Fresh), "its key is free");
}

/// Starts a second request with the key of one that is under way, lets `end` end the first, and gives what the
/// second is told.
async fn second_after(pool: &PgPool, commit: bool) -> Begin {
    let mut first = runtime::database::begin(pool).await.expect("a transaction");
    assert!(matches!(begin(&mut first, &request("key")).await.expect("begun"), Begin::Fresh));
    let second = async {
        let mut tx = runtime::database::begin(pool).await.expect("a transaction");
        begin(&mut tx, &request("key")).await.expect("begun")
    };
    let first = async {
        // It waits at the row of the first.
        eventually("a request that waits", async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(pool)
            .await
            .expect("counts");
            if waiting == 1 { Ok(()) } else { Err(waiting) }
        })
        .await;
        complete(&mut first, "key", &answer()).await.expect("kept");
        if commit { first.commit().await } else { first.rollback().await }.expect("ended");
    };
    futures::join!(second, first).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_with_the_key_waits_for_the_first() {
    let (_world, pool) = database().await;
    let told = second_after(&pool, true).await;
    assert!(matches!(&told, Begin::Replay(replayed) if *replayed == answer()), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_failed_leaves_its_key_to_the_next() {
    let (_world, pool) = database().await;
    let told = second_after(&pool, false).await;
    assert!(matches!(told, Begin::Fresh), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_pruned_after_24_hours() {
    let (_world, pool) = database().await;
    answered(&pool, "key").await;
    let now = clock::now();
    assert_eq!(prune(&pool, now + TimeDelta::hours(23)).await.expect("pruned"), 0);
    assert_eq!(prune(&pool, now + TimeDelta::hours(25)).await.expect("pruned"), 1);
}
