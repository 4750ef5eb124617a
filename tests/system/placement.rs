//! Orders that are placed together: each gets its own answer.

use std::sync::Arc;
use std::time::Duration;

use contracts::{Customer, PaymentMethod, Quantity, StockLine};
use futures::FutureExt;
use futures::future::join_all;
use http_api::Problem;
use http_api::idempotency::{Key, StoredResponse};
use messaging::UnitOfWork;
use order::admission::AdmissionControl;
use order::domain::PlaceOrder;
use order::placement::{PlacementBatcher, PlacementHandle};
use order::{DeadlineConfig, Limits};
use serde_json::Value;
use sqlx::PgPool;
use system::Service;
use testkit::World;
use testkit::world::Servers;

const MINUTE: Duration = Duration::from_secs(60);

type Answer = Result<StoredResponse, Problem>;

/// An order service's database with a price for `BEANS`, and no service.
struct Bench {
    pool: PgPool,
    _world: World,
}

impl Bench {
    async fn open() -> Self {
        let world = World::bare(Servers::shared()).await;
        world.database_url("order").await;
        let pool = world.pool("order").await;
        for migrations in [&messaging::MIGRATIONS, &http_api::MIGRATIONS, &order::store::MIGRATIONS] {
            runtime::database::migrate(&pool, migrations).await.expect("migrated");
        }
        let price = "insert into prices (sku, name, amount_minor, currency, aggregate_version) values ('BEANS', 'Beans', 900, 'EUR', 1)";
        sqlx::query(price).execute(&pool).await.expect("a price");
        Self { pool, _world: world }
    }

    fn placing(&self) -> (PlacementHandle, PlacementBatcher) {
        let admission = Arc::new(AdmissionControl::new(Limits { max_outbox: 1_000, max_pending: 1_000 }));
        PlacementBatcher::new(
            self.pool.clone(),
            UnitOfWork::new(Service::Order.into()),
            admission,
            DeadlineConfig { order_deadline: MINUTE, order_deadline_max: MINUTE, capture_deadline: MINUTE },
        )
    }

    /// Hands all of them in before anybody looks, and gives the answers.
    async fn at_once(&self, orders: Vec<(Key, PlaceOrder)>) -> Vec<Answer> {
        let (handle, placing) = self.placing();
        let handed_in: Vec<_> = orders
            .into_iter()
            .map(|(key, command)| {
                let handle = handle.clone();
                async move { handle.place(key, command).await }
            })
            .collect();
        drop(handle);
        // The batcher is polled after all requests are in its queue, and ends when no handle is left.
        let (answers, placed) = futures::join!(join_all(handed_in), placing.run());
        placed.expect("the end");
        answers
    }

    /// Inserting an order for which `condition` holds fails as if another transaction had locked it, at once or at the
    /// commit. The sequence `tries` counts that.
    async fn contends(&self, condition: &str, deferred: &str) {
        let fault = format!(
            "create sequence tries;
             create function a_fault() returns trigger language plpgsql as $$ begin
                 perform nextval('tries');
                 raise exception 'a lock' using errcode = '55P03';
             end $$;
             create constraint trigger a_fault after insert on orders {deferred}
             for each row when ({condition}) execute function a_fault()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(fault)).execute(&self.pool).await.expect("a fault");
    }

    /// How many orders there are, and by how many transactions they were placed.
    async fn placed(&self) -> (i64, i64) {
        let counts = "select count(*), count(distinct xmin::text) from order_events where version = 1";
        sqlx::query_as(counts).fetch_one(&self.pool).await.expect("counts")
    }
}

fn command(customer: &str, sku: &str) -> PlaceOrder {
    let quantity: Quantity = serde_json::from_str("1").expect("a quantity");
    PlaceOrder {
        customer: Customer {
            id: customer.parse().expect("a customer"),
            email: "a@example.com".parse().expect("a mail address"),
        },
        lines: vec![StockLine { sku: sku.parse().expect("a SKU"), quantity }],
        payment_method: "pm_card_visa".parse::<PaymentMethod>().expect("a payment method"),
        expected_total: None,
    }
}

/// Under a key of its own.
fn single(customer: &str, sku: &str) -> (Key, PlaceOrder) {
    (Key { key: runtime::clock::new_id().to_string(), fingerprint: [0; 32] }, command(customer, sku))
}

fn plain(customer: &str) -> (Key, PlaceOrder) {
    single(customer, "BEANS")
}

/// Under a key, told from other requests by `print`.
fn keyed(key: &str, print: u8, sku: &str) -> (Key, PlaceOrder) {
    (Key { key: key.to_owned(), fingerprint: [print; 32] }, command("keyed", sku))
}

/// The customer of the order that is answered, or the status of the problem.
fn told(answer: &Answer) -> Result<String, u16> {
    let order = answer.as_ref().map_err(|problem| problem.status().as_u16())?;
    assert_eq!(order.status, 202);
    let order: Value = serde_json::from_slice(&order.body).expect("JSON");
    Ok(order["customer"]["id"].as_str().expect("a customer").to_owned())
}

fn all_told(answers: &[Answer]) -> Vec<Result<String, u16>> {
    answers.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_orders_share_a_transaction_and_get_their_own_responses() {
    let bench = Bench::open().await;
    let answers = bench
        .at_once(vec![
            plain("ann"),
            single("bob", "NO-SUCH"),
            plain("cid"),
            keyed("fresh", 1, "BEANS"),
            keyed("refused", 1, "NO-SUCH"),
        ])
        .await;
    let ok = |customer: &str| Ok(customer.to_owned());
    assert_eq!(all_told(&answers), [ok("ann"), Err(422), ok("cid"), ok("keyed"), Err(422)]);
    assert_eq!(bench.placed().await, (3, 1));

    let again =
        bench.at_once(vec![keyed("fresh", 1, "BEANS"), keyed("refused", 2, "BEANS"), plain("dan")]).await;
    assert_eq!(again[0], answers[3], "answered as before");
    assert_eq!(all_told(&again[1..]), [ok("keyed"), ok("dan")], "the key of what was refused is free");
    assert_eq!(bench.placed().await, (5, 2));
    let other = bench.at_once(vec![keyed("fresh", 2, "BEANS"), keyed("fresh", 1, "BEANS")]).await;
    assert_eq!(told(&other[0]), Err(422), "the key is another request's");
    assert_eq!(other[1], answers[3]);
    assert_eq!(bench.placed().await, (5, 2));

    let beside = bench.at_once(vec![keyed("fresh", 2, "BEANS"), plain("eve")]).await;
    assert_eq!(all_told(&beside), [Err(422), ok("eve")]);
    let repeated = bench.at_once(vec![keyed("fresh", 1, "BEANS")]).await;
    assert_eq!(repeated[0], answers[3], "the other request has not freed its key");
    assert_eq!(bench.placed().await, (6, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_sent_twice_at_once_places_one_order() {
    let bench = Bench::open().await;
    let answers = bench
        .at_once(vec![keyed("key", 1, "BEANS"), keyed("key", 1, "BEANS"), keyed("key", 2, "BEANS")])
        .await;
    assert_eq!(told(&answers[0]), Ok("keyed".to_owned()));
    assert_eq!(answers[1], answers[0]);
    assert_eq!(told(&answers[2]), Err(422), "the key is another request's");
    assert_eq!(bench.placed().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn order_rejected_by_the_database_does_not_block_others() {
    let bench = Bench::open().await;
    let constraint = "alter table orders add constraint a_fault check (customer_id <> 'bob')";
    sqlx::query(constraint).execute(&bench.pool).await.expect("a constraint");
    let answers = bench.at_once(vec![plain("ann"), plain("bob"), plain("cid")]).await;
    assert_eq!(all_told(&answers), [Ok("ann".to_owned()), Err(500), Ok("cid".to_owned())]);
    assert_eq!(bench.placed().await, (2, 2), "each by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn contended_order_does_not_block_others() {
    for deferred in ["", "deferrable initially deferred"] {
        let bench = Bench::open().await;
        bench.contends("new.customer_id = 'bob'", deferred).await;
        let answers = bench.at_once(vec![plain("ann"), plain("bob"), plain("cid")]).await;
        assert_eq!(all_told(&answers), [Ok("ann".to_owned()), Err(503), Ok("cid".to_owned())], "{deferred}");
        assert_eq!(bench.placed().await, (2, 2), "each by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_table_is_waited_for_three_times_and_not_for_each_order() {
    let bench = Bench::open().await;
    bench.contends("true", "").await;
    let orders = ["ann", "bob", "cid", "dan", "eve"].map(plain);
    let answers = bench.at_once(orders.into()).await;
    assert_eq!(all_told(&answers), vec![Err(503); 5]);
    let tries: i64 =
        sqlx::query_scalar("select last_value from tries").fetch_one(&bench.pool).await.expect("counted");
    assert_eq!(tries, 3, "the batch, and two of its orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_session_answers_every_request_with_retry_after() {
    let bench = Bench::open().await;
    let fault = "create function a_fault() returns trigger language plpgsql as
        $$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$";
    sqlx::query(fault).execute(&bench.pool).await.expect("a function");
    let trigger = "create trigger a_fault after insert on orders execute function a_fault()";
    sqlx::query(trigger).execute(&bench.pool).await.expect("a trigger");
    let answers = bench.at_once(vec![plain("ann"), plain("bob")]).await;
    assert_eq!(all_told(&answers), [Err(503), Err(503)]);
    assert_eq!(bench.placed().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_request_places_no_order_and_late_one_gets_503() {
    let bench = Bench::open().await;
    let (handle, placing) = bench.placing();
    {
        let (key, order) = plain("ann");
        let mut given_up = std::pin::pin!(handle.place(key, order));
        assert!(given_up.as_mut().now_or_never().is_none(), "handed in, and nobody is there yet");
    }
    let bob = async move {
        let (key, order) = plain("bob");
        let answer = handle.place(key, order).await;
        drop(handle);
        answer
    };
    let (answer, placed) = futures::join!(bob, placing.run());
    placed.expect("the end");
    assert_eq!(told(&answer), Ok("bob".to_owned()));
    assert_eq!(bench.placed().await, (1, 1));

    let (handle, placing) = bench.placing();
    drop(placing);
    let (key, order) = plain("ann");
    let late = handle.place(key, order).await;
    assert_eq!(told(&late), Err(503));
}
