//! A transaction that is given up while it begins leaves nothing behind.

use std::time::Duration;

use runtime::config::DatabaseConfig;
use secrecy::SecretString;
use sqlx::Row;
use testkit::World;
use tokio::time::timeout;

/// From before anything is sent to after the answer, in steps of 10 µs.
const MICROSECONDS: std::ops::Range<u64> = 1..300;

#[tokio::test(flavor = "multi_thread")]
async fn transaction_abandoned_at_begin_is_invisible_to_the_next() {
    let world = World::new().await;
    let url = SecretString::from(world.database_url("order").await);
    // One connection: the next user gets the one that was given up.
    let config = DatabaseConfig { url, max_connections: 1 };
    let pool = runtime::database::pool(&config, "test").expect("a pool");
    let mut given_up = 0;
    for step in MICROSECONDS {
        let limit = Duration::from_micros(step * 10);
        given_up += u32::from(timeout(limit, runtime::database::begin(&pool)).await.is_err());
        // Outside any transaction each statement is one of its own, and begins when it begins.
        let statement = sqlx::raw_sql("select transaction_timestamp() = statement_timestamp()");
        let alone = statement.fetch_one(&pool).await.expect("an answer");
        assert!(alone.get::<bool, _>(0), "given up after {limit:?}, a transaction was left open");
    }
    assert!(given_up > 0, "none was given up");
}
