//! Pruning, on the inbox itself.

use chrono::TimeDelta;
use messaging::inbox;
use messaging::prune::prune;
use runtime::clock;
use sqlx::types::Uuid;
use system::Service;
use testkit::World;
use testkit::fixture::{ServiceFixture, short_delays};
use testkit::world::Servers;

#[tokio::test(flavor = "multi_thread")]
async fn pruning_deletes_only_inbox_rows_past_their_retention() {
    let world = World::bare(Servers::shared()).await;
    let pool = ServiceFixture::take(&world, Service::Order, &short_delays()).await.pool;
    let (old, new) = (clock::new_id(), clock::new_id());
    let mut conn = pool.acquire().await.expect("a connection");
    inbox::enter(&mut conn, &[old, new]).await.expect("entered");
    let now = clock::now();
    let days = |days| now + TimeDelta::days(days);
    assert_eq!(prune(&pool, days(7) - TimeDelta::minutes(1)).await.expect("pruned"), 0);
    let fresh = inbox::enter(&mut conn, &[old, new]).await.expect("entered");
    assert!(fresh.is_empty(), "still known: {fresh:?}");
    let later = a_version_7_id_of(days(1));
    inbox::enter(&mut conn, &[later]).await.expect("entered");
    assert_eq!(prune(&pool, days(7) + TimeDelta::minutes(1)).await.expect("pruned"), 2, "the first two ids");
    assert!(inbox::enter(&mut conn, &[later]).await.expect("entered").is_empty(), "the third is kept");
}

/// An id as it would be drawn at that time: its first 48 bits are milliseconds (RFC 9562, section 5.7).
fn a_version_7_id_of(time: chrono::DateTime<chrono::Utc>) -> Uuid {
    let millis = u128::try_from(time.timestamp_millis()).expect("after 1970");
    let rest = clock::new_id().as_u128() & ((1 << 80) - 1);
    Uuid::from_u128(millis << 80 | rest)
}
