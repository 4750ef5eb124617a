//! A service that is restarted under load, behind a balancer that follows `/health/ready`: no request fails.

use std::sync::Mutex;
use std::time::Duration;

use crate::shop::{Shop, order_of};
use futures::future::join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use system::Service;
use testkit::eventually;
use testkit::running::{Env, Running};
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;

const CUSTOMERS: usize = 6;
/// Between two requests of a customer, who keeps the connection.
const REQUEST_INTERVAL: Duration = Duration::from_millis(20);
const PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// Many times what the balancer needs to notice.
const SHUTDOWN_DELAY: (&str, &str) = ("HTTP_SHUTDOWN_DELAY", "1s");

#[tokio::test(flavor = "multi_thread")]
async fn twenty_restarts_under_load_fail_no_request() {
    let env = Env::from([(SHUTDOWN_DELAY.0.to_owned(), SHUTDOWN_DELAY.1.to_owned())]);
    let start = async || Running::start(&env, payment_provider::run).await;
    let authorization = json!({
        "merchant_reference": "order-1", "amount_minor": 500, "currency": "EUR", "payment_method": "pm_card_visa"
    });
    let customer = async |mut customer: Customer<'_>, over: &CancellationToken| {
        while !over.is_cancelled() {
            let key = runtime::clock::new_id().to_string();
            let authorize = |client: &Client, url: &str| {
                client
                    .post(format!("{url}/v1/authorizations"))
                    .header("Idempotency-Key", &key)
                    .json(&authorization)
            };
            customer.is_answered(authorize, 201).await;
            customer.is_answered(|client, url| client.get(format!("{url}/v1/calls")), 200).await;
        }
        customer.answered
    };
    restart_under_load(20, start, customer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_order_service_accepts_every_order() {
    let shop = Shop::open_with(&[SHUTDOWN_DELAY]).await;
    shop.stock("BEANS", 1_000_000).await;
    let order = order_of("BEANS", 1, "pm_card_visa");
    let customer = async |mut customer: Customer<'_>, over: &CancellationToken| {
        while !over.is_cancelled() {
            let key = runtime::clock::new_id().to_string();
            let place = |client: &Client, url: &str| {
                client.post(format!("{url}/api/v1/orders")).header("Idempotency-Key", &key).json(&order)
            };
            let placed = customer.is_answered(place, 202).await;
            let path = format!("/api/v1/orders/{}", placed["id"].as_str().expect("an id"));
            for _ in 0..20 {
                customer.is_answered(|client, url| client.get(format!("{url}{path}")), 200).await;
            }
        }
        customer.answered
    };
    restart_under_load(4, async || shop.start(Service::Order).await, customer).await;
    shop.check().await;
}

/// Restarts two replicas in turn while customers call whichever is ready.
async fn restart_under_load(
    restarts: usize,
    start: impl AsyncFn() -> Running,
    customer: impl AsyncFn(Customer<'_>, &CancellationToken) -> usize,
) {
    let mut replicas = [start().await, start().await];
    let balancer = Balancer(Mutex::new(replicas.each_ref().map(Target::of)));
    let over = CancellationToken::new();
    let restarting = async {
        for number in 0..restarts {
            let at = number % replicas.len();
            balancer.finds_ready(1 - at).await;
            replicas[at].halt().await;
            replicas[at] = start().await;
            replicas[at].ready().await;
            balancer.0.lock().expect("no panic")[at] = Target::of(&replicas[at]);
        }
        over.cancel();
    };
    let customers = (0..CUSTOMERS).map(|_| customer(Customer::of(&balancer), &over));
    let ((), (), answered) = tokio::join!(restarting, balancer.probe(&over), join_all(customers));
    let answered: usize = answered.into_iter().sum();
    assert!(answered > restarts * CUSTOMERS, "{answered} requests are no load");
}

/// Knows two replicas, and gives those that were ready when it asked last.
struct Balancer(Mutex<[Target; 2]>);

#[derive(Clone)]
struct Target {
    url: String,
    operations_url: String,
    is_ready: bool,
}

impl Target {
    fn of(replica: &Running) -> Self {
        Self { url: replica.url.clone(), operations_url: replica.operations_url.clone(), is_ready: false }
    }
}

impl Balancer {
    async fn probe(&self, over: &CancellationToken) {
        let client = Client::new();
        let mut probes = interval(PROBE_INTERVAL);
        while !over.is_cancelled() {
            probes.tick().await;
            let targets = self.0.lock().expect("no panic").clone();
            for (at, target) in targets.into_iter().enumerate() {
                let answer = client.get(format!("{}/health/ready", target.operations_url)).send().await;
                let is_ready = answer.is_ok_and(|answer| answer.status().is_success());
                let mut targets = self.0.lock().expect("no panic");
                // Where a successor has come meanwhile, it is asked next.
                if targets[at].operations_url == target.operations_url {
                    targets[at].is_ready = is_ready;
                }
            }
        }
    }

    /// Waits until that replica gets requests, as a rolling deployment does before it stops the other.
    async fn finds_ready(&self, at: usize) {
        eventually("the other replica", async || {
            if self.0.lock().expect("no panic")[at].is_ready { Ok(()) } else { Err("not ready") }
        })
        .await;
    }

    /// The replica for a request; none before the first probe.
    fn url(&self, number: usize) -> Option<String> {
        let targets = self.0.lock().expect("no panic");
        let ready: Vec<_> = targets.iter().filter(|target| target.is_ready).collect();
        Some(ready.get(number % ready.len().max(1))?.url.clone())
    }
}

/// One who sends a request after the other over connections that are kept.
struct Customer<'a> {
    balancer: &'a Balancer,
    client: Client,
    requests: Interval,
    answered: usize,
}

impl<'a> Customer<'a> {
    fn of(balancer: &'a Balancer) -> Self {
        Self { balancer, client: Client::new(), requests: interval(REQUEST_INTERVAL), answered: 0 }
    }

    /// Sends a request and gives the body of its answer, which has this status. It is repeated only where Postgres has no
    /// time on a busy machine, which a restart does not cause.
    async fn is_answered(&mut self, request: impl Fn(&Client, &str) -> RequestBuilder, status: u16) -> Value {
        loop {
            let (url, found, body) = self.send(&request).await;
            if found == 503 && body["detail"] == "the database does not answer" {
                continue;
            }
            assert_eq!(found, status, "request {} to {url}: {body}", self.answered);
            self.answered += 1;
            return body;
        }
    }

    async fn send(&mut self, request: impl Fn(&Client, &str) -> RequestBuilder) -> (String, u16, Value) {
        self.requests.tick().await;
        let url = async || self.balancer.url(self.answered).ok_or("none");
        let url = eventually("a replica", url).await;
        let answer = request(&self.client, &url).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("request {} failed: {error:?}", self.answered));
        let status = answer.status().as_u16();
        (url, status, answer.json().await.expect("the whole answer"))
    }
}
