//! What the databases themselves refuse: to change what is only ever added to, money that does not balance, another
//! service's data, and events that a service does not own.

use crate::shop::Shop;
use messaging::{Effects, OutgoingEvent, UnitOfWork};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use system::Service;
use testkit::World;

/// The tables that are only ever inserted into, with a column of each, and what the refusal says.
const LEDGERS: [(&str, &str, &str, &str); 3] = [
    ("order", "order_events", "recorded_at = now()", "append-only"),
    ("inventory", "stock_movements", "on_hand_delta = 0", "append-only"),
    ("payment", "ledger_entries", "amount_minor = 0", "only ever inserted into"),
];

#[tokio::test(flavor = "multi_thread")]
async fn ledger_refuses_changes_and_unbalanced_postings() {
    let shop = Shop::open().await;
    shop.stock("BEANS", 2).await;
    let id = shop.place("BEANS", 1, "pm_card_visa").await;
    shop.order_is(&id, "completed").await;
    for (service, table, change, refusal) in LEDGERS {
        let pool = shop.pool(service).await;
        let before = rows(&pool, table).await;
        assert!(before > 0, "{table} is empty");
        refuses(&pool, format!("update {table} set {change}"), refusal).await;
        refuses(&pool, format!("delete from {table}"), refusal).await;
        refuses(&pool, format!("truncate {table}"), refusal).await;
        assert_eq!(rows(&pool, table).await, before, "{table}");
    }

    let unbalanced = format!(
        "insert into ledger_entries (order_id, posting, account, amount_minor, currency, at) values
             ('{id}', 'refunded', 'captured_funds', -1000, 'EUR', now()), ('{id}', 'refunded', 'refunds', 999, 'EUR', now())"
    );
    refuses(&shop.pool("payment").await, unbalanced, "sums to -1 EUR instead of zero").await;
    let twice = format!(
        "insert into ledger_entries (order_id, posting, account, amount_minor, currency, at)
         select order_id, posting, account, amount_minor, currency, now() from ledger_entries where order_id = '{id}'"
    );
    refuses(&shop.pool("payment").await, twice, "a_posting_is_made_once").await;
    let oversold = "update stock set reserved = on_hand + 1".to_owned();
    refuses(&shop.pool("inventory").await, oversold, "stock").await;
    shop.check().await;
}

#[tokio::test]
async fn event_of_another_owner_is_not_published() {
    let world = World::new().await;
    let pool = world.pool("payment").await;
    messaging::MIGRATIONS.run(&pool).await.expect("migrates");
    for sample in contracts::samples::samples() {
        let owner = sample.event.event_type().owner();
        let effects = || Effects {
            events: vec![OutgoingEvent {
                event: sample.event.clone(),
                aggregate_version: sample.aggregate_version,
                origin: messaging::CausationContext::current(),
            }],
            ..Effects::default()
        };
        let unit_of_work = UnitOfWork::new(Service::Payment.into());
        let published =
            unit_of_work.commit(runtime::database::begin(&pool).await.expect("begins"), effects()).await;
        assert_eq!(
            published.is_ok(),
            owner == Service::Payment,
            "{}: {published:?}",
            sample.event.event_type()
        );
    }
}

#[tokio::test]
async fn service_cannot_open_the_database_of_another() {
    let servers = testkit::world::Servers::shared();
    let (_, host) = servers.postgres.rsplit_once('@').expect("a URL with a user");
    for role in Service::ALL {
        for database in Service::ALL {
            let url = format!("postgres://{role}:{role}@{host}/{database}");
            match PgConnection::connect(&url).await {
                Ok(_) => assert_eq!(role, database, "{role} opened the database of {database}"),
                Err(error) => {
                    assert_ne!(role, database, "{error}");
                    assert!(error.to_string().contains("permission denied"), "{error}");
                }
            }
        }
    }
}

async fn rows(pool: &PgPool, table: &str) -> i64 {
    let count = AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(count).fetch_one(pool).await.expect("counts")
}

async fn refuses(pool: &PgPool, statement: String, refusal: &str) {
    let result = sqlx::query(AssertSqlSafe(statement.clone())).execute(pool).await;
    let error = result.map(drop).expect_err(&statement).to_string();
    assert!(error.contains(refusal), "{statement}: {error}");
}
