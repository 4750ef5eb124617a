//! The whole shop in this process: the five services, the card processor and a mail sink, on ports of their own.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use devstack::SmtpSink;
use runtime::Listeners;
use serde_json::{Value, json};
use sqlx::PgPool;
use system::{Outside, Service};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use testkit::running::{Env, Running, answer, lookup, patient_answer};
use testkit::wait::eventually;
use testkit::world::World;

/// All of it.
#[derive(Debug)]
pub(crate) struct Shop {
    /// The services.
    services: BTreeMap<Service, Running>,
    /// The card processor.
    pub(crate) provider: Running,
    /// Keeps the mails.
    pub(crate) mails: SmtpSink,
    /// Databases and vhost.
    pub(crate) world: World,
    env: Env,
    _folder: TempDir,
}

impl Shop {
    /// The shop in a world of its own, all ready, with no products.
    pub(crate) async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// The same with variables that every service gets, such as `ORDER_DEADLINE`.
    pub(crate) async fn open_with(variables: &[(&str, &str)]) -> Self {
        Self::open_in(World::new().await, variables).await
    }

    /// The shop in the given world.
    ///
    /// # Panics
    /// When a part does not start.
    pub(crate) async fn open_in(world: World, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let [port] = devstack::free_ports().expect("a free port");
        let mails = SmtpSink::start(folder.path(), port).await.expect("the mail sink starts");
        let mut env: Env =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let provider = Running::start(&env, payment_provider::run).await;
        env.insert("PAYMENT_PROVIDER_URL".to_owned(), provider.url.clone());
        env.insert("SMTP_URL".to_owned(), mails.url());
        // No order times out on a busy machine, but where that is what the test is about.
        env.entry("ORDER_DEADLINE".to_owned()).or_insert_with(|| "10m".to_owned());
        env.entry("DEMO_CATALOGUE".to_owned()).or_insert_with(|| "false".to_owned());
        // Nor does a test wait long for an outside that is well again.
        env.entry("BREAKER_PAUSE".to_owned()).or_insert_with(|| "50ms".to_owned());
        env.entry("BREAKER_PAUSE_CAP".to_owned()).or_insert_with(|| "200ms".to_owned());
        let mut services = BTreeMap::new();
        for service in Service::ALL {
            services.insert(*service, start(*service, &world, &env).await);
        }
        let shop = Self { services, provider, mails, world, env, _folder: folder };
        for service in shop.services.values() {
            service.ready().await;
        }
        shop
    }

    /// Starts one more of a service: a replica, or a successor of one that was stopped.
    pub(crate) async fn start(&self, service: Service) -> Running {
        start(service, &self.world, &self.env).await
    }

    /// Stops a service as SIGTERM would.
    pub(crate) async fn stop(&mut self, service: Service) {
        self[service].halt().await;
    }

    /// Starts a service that was stopped, and waits until it is ready.
    pub(crate) async fn restart(&mut self, service: Service) {
        let successor = self.start(service).await;
        successor.ready().await;
        self[service] = successor;
    }

    /// Stops a service and starts it again by another `run`.
    pub(crate) async fn replace<C, F, Fut>(&mut self, service: Service, run: F)
    where
        C: clap::Parser,
        F: FnOnce(C, Listeners, CancellationToken) -> Fut,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.stop(service).await;
        let env = service_env(&self.world, service.as_str(), &self.env).await;
        self[service] = Running::start(&env, run).await;
        self[service].ready().await;
    }

    /// Every program by its name: the services, and the card processor.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (&'static str, &Running)> {
        let services = self.services.iter().map(|(service, running)| (service.as_str(), running));
        services.chain([(Outside::PaymentProvider.program().name, &self.provider)])
    }

    /// A pool on a service's database.
    pub(crate) async fn pool(&self, service: &str) -> PgPool {
        self.world.pool(service).await
    }

    /// Lists a product of 10.00 EUR with the given stock, and waits until the order service knows its price.
    ///
    /// # Panics
    /// When it is refused.
    pub(crate) async fn stock(&self, sku: &str, quantity: i64) {
        let product = json!({"name": sku, "price": {"amount_minor": 1000, "currency": "EUR"}});
        let (status, body) = self.list(sku, &product).await;
        assert!(status < 300, "{body}");
        if quantity > 0 {
            let restock = self[Service::Inventory].post(&format!("/api/v1/products/{sku}/restock"));
            let (status, body) = answer(restock.json(&json!({"quantity": quantity}))).await;
            assert!(status < 300, "{body}");
        }
        let pool = self.pool("order").await;
        eventually(&format!("the price of {sku}"), async || {
            let known: i64 = sqlx::query_scalar("select count(amount_minor) from prices where sku = $1")
                .bind(sku)
                .fetch_one(&pool)
                .await
                .expect("counts");
            if known == 1 { Ok(()) } else { Err("unknown") }
        })
        .await;
    }

    /// Lists a product, or changes whatever is listed; gives status and body of the answer.
    pub(crate) async fn list(&self, sku: &str, product: &Value) -> (u16, Value) {
        let put =
            || self[Service::Inventory].request("PUT", &format!("/api/v1/products/{sku}")).json(product);
        match answer(put()).await {
            (428, _) => answer(put().header("if-match", "*")).await,
            first => first,
        }
    }

    /// Places an order of one line and gives its id.
    ///
    /// # Panics
    /// When it is refused.
    pub(crate) async fn place(&self, sku: &str, quantity: i64, payment_method: &str) -> String {
        let order = place_at(&self[Service::Order], &order_of(sku, quantity, payment_method)).await;
        order["id"].as_str().expect("an id").to_owned()
    }

    /// The order as the order service shows it.
    pub(crate) async fn order(&self, id: &str) -> Value {
        self[Service::Order].get(&format!("/api/v1/orders/{id}")).await.1
    }

    /// Waits until the order is in that state, cancelled and settled where it is `cancelled`.
    pub(crate) async fn order_is(&self, id: &str, status: &str) -> Value {
        eventually(&format!("order {id} {status}"), async || {
            let order = self.order(id).await;
            let settled = status != "cancelled" || order["settled"] == true;
            if order["status"] == status && settled { Ok(order) } else { Err(order) }
        })
        .await
    }

    /// Waits until the order is cancelled for that reason, settled or not.
    pub(crate) async fn cancelled_as(&self, id: &str, reason: &str) {
        eventually(&format!("order {id} cancelled, {reason}"), async || {
            let order = self.order(id).await;
            let told = order["status"] == "cancelled" && order["reason"] == reason;
            if told { Ok(()) } else { Err(order) }
        })
        .await;
    }

    /// Cancels the order; gives status and body of the answer.
    pub(crate) async fn cancel(&self, id: &str) -> (u16, Value) {
        patient_answer(self[Service::Order].request("POST", &format!("/api/v1/orders/{id}/cancel"))).await
    }

    /// The order's timeline.
    pub(crate) async fn timeline(&self, id: &str) -> Value {
        self[Service::Order].get(&format!("/api/v1/orders/{id}/timeline")).await.1
    }

    /// The order's payment, null when there is none.
    pub(crate) async fn payment_of(&self, id: &str) -> Value {
        found(self[Service::Payment].get(&format!("/api/v1/payments/{id}")).await)
    }

    /// What inventory has for the order, null when it has nothing.
    pub(crate) async fn reservation_of(&self, id: &str) -> Value {
        found(self[Service::Inventory].get(&format!("/api/v1/reservations/{id}")).await)
    }

    /// Waits until the order's payment has that status.
    pub(crate) async fn payment_is(&self, id: &str, status: &str) {
        eventually(&format!("payment {status}"), async || {
            let payment = self.payment_of(id).await;
            if payment["status"] == status { Ok(()) } else { Err(payment) }
        })
        .await;
    }

    /// Waits until there is so much of the product: (on hand, reserved).
    pub(crate) async fn stock_is(&self, sku: &str, stock: (i64, i64)) {
        eventually(&format!("stock of {sku} {stock:?}"), async || {
            let found = self.stock_of(sku).await;
            if found == stock { Ok(()) } else { Err(found) }
        })
        .await;
    }

    /// Switches the card processor's faults; what is not named is off.
    ///
    /// # Panics
    /// When it refuses.
    pub(crate) async fn faults(&self, faults: &Value) {
        let (status, body) = answer(self.provider.request("PUT", "/faults").json(faults)).await;
        assert_eq!(status, 200, "{body}");
    }

    /// How often the card processor was called, whatever became of it.
    ///
    /// # Panics
    /// When it does not say.
    pub(crate) async fn calls(&self) -> i64 {
        self.provider.get("/v1/calls").await.1["calls"].as_i64().expect("a number")
    }

    /// The order's mails as the notification service shows them, by kind.
    ///
    /// # Panics
    /// When the answer is not a list.
    pub(crate) async fn notifications_of(&self, id: &str) -> BTreeMap<String, Value> {
        let (_, page) =
            self[Service::Notification].get(&format!("/api/v1/notifications?order_id={id}")).await;
        let items = page["items"].as_array().expect("items");
        items.iter().map(|item| (item["kind"].as_str().expect("a kind").to_owned(), item.clone())).collect()
    }

    /// The product as inventory shows it: (on hand, reserved).
    ///
    /// # Panics
    /// When there is none.
    pub(crate) async fn stock_of(&self, sku: &str) -> (i64, i64) {
        let (_, product) = self[Service::Inventory].get(&format!("/api/v1/products/{sku}")).await;
        let number = |name: &str| product[name].as_i64().unwrap_or_else(|| panic!("{name} of {product}"));
        (number("on_hand"), number("reserved"))
    }

    /// What the card processor really holds, took and gave back for an order: (held, captured, refunded).
    ///
    /// # Panics
    /// When the report is not readable.
    pub(crate) async fn charged(&self, order: &str) -> (i64, i64, i64) {
        let (_, report) = self.provider.get(&format!("/v1/report?merchant_reference={order}")).await;
        let sum = |name: &str| {
            let items = report["items"].as_array().expect("items");
            items.iter().map(|item| item[name].as_i64().expect("an amount")).sum()
        };
        (sum("held_minor"), sum("captured_minor"), sum("refunded_minor"))
    }
}

/// Places an order as a good client does, which comes again with its key while the service is busy, and gives the
/// order as it was answered.
///
/// # Panics
/// When it is refused.
pub(crate) async fn place_at(service: &Running, order: &Value) -> Value {
    let (status, body) = patient_answer(service.post("/api/v1/orders").json(order)).await;
    assert_eq!(status, 202, "{body}");
    body
}

fn found((status, body): (u16, Value)) -> Value {
    if status == 200 { body } else { Value::Null }
}

/// The body of an order of one line.
#[must_use]
pub(crate) fn order_of(sku: &str, quantity: i64, payment_method: &str) -> Value {
    json!({
        "customer": {"id": "customer-1", "email": "ada@example.com"},
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment_method": payment_method,
    })
}

async fn start(service: Service, world: &World, common: &Env) -> Running {
    let env = service_env(world, service.as_str(), common).await;
    let code = registry::code(service.as_str()).expect("code for every row");
    Running::serve(|listener, shutdown| (code.start)(&lookup(&env), listener, shutdown)).await
}

impl Index<Service> for Shop {
    type Output = Running;

    fn index(&self, service: Service) -> &Running {
        &self.services[&service]
    }
}

impl IndexMut<Service> for Shop {
    fn index_mut(&mut self, service: Service) -> &mut Running {
        self.services.get_mut(&service).expect("a running service")
    }
}

async fn service_env(world: &World, service: &str, common: &Env) -> Env {
    let mut env = common.clone();
    env.insert("DATABASE_URL".to_owned(), world.database_url(service).await);
    env.insert("AMQP_URL".to_owned(), world.amqp_url(service));
    env
}
