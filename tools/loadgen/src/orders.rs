//! What is ordered: products of a load's own, and sources of orders.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const PLENTY: u32 = 1_000_000;
const SCARCE: u32 = 500;
/// The longest time after which a customer cancels.
const MAX_CANCEL_DELAY_MS: u64 = 2_000;

/// The products of a load. Their prefix keeps a load from taking anybody else's stock.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    pub prefix: &'static str,
    pub skus: usize,
    /// How many of them, the last ones, run out of stock.
    pub scarce: usize,
}

impl Catalogue {
    #[must_use]
    pub fn sku(&self, number: usize) -> String {
        format!("{}-{}", self.prefix, number % self.skus)
    }

    pub(crate) fn price(&self, number: usize) -> Value {
        json!({"amount_minor": 1_000 + number, "currency": "EUR"})
    }

    pub(crate) fn quantity(&self, number: usize) -> u32 {
        if number < self.skus - self.scarce { PLENTY } else { SCARCE }
    }
}

/// An order, and how its customer behaves.
#[derive(Debug, Clone)]
pub struct PlaceOrder {
    /// The idempotency key.
    pub key: String,
    pub body: Value,
    /// Whether it is sent twice at once.
    pub twice: bool,
    /// How long after its acceptance the customer cancels it, if at all.
    pub cancel_after: Option<Duration>,
}

impl PlaceOrder {
    /// An order that is sent once and not cancelled.
    #[must_use]
    pub fn new(body: Value) -> Self {
        Self { key: runtime::clock::new_id().to_string(), body, twice: false, cancel_after: None }
    }
}

/// The body of a request to place an order; a line is a SKU and a quantity.
#[must_use]
pub fn order_body<'a>(
    customer: &str,
    email: &str,
    lines: impl IntoIterator<Item = &'a (String, u32)>,
    payment_method: &str,
) -> Value {
    let line = |(sku, quantity): &(String, u32)| json!({"sku": sku, "quantity": quantity});
    let lines: Vec<_> = lines.into_iter().map(line).collect();
    json!({"customer": {"id": customer, "email": email}, "lines": lines, "payment_method": payment_method})
}

/// Orders of one piece each, of one product after the other.
pub fn uniform(
    catalogue: Catalogue,
    customer: &str,
    payment_method: &str,
) -> impl Iterator<Item = PlaceOrder> {
    (0..).map(move |number| {
        let lines = [(catalogue.sku(number), 1)];
        PlaceOrder::new(order_body(customer, "load@example.com", &lines, payment_method))
    })
}

/// Orders of several products under keys, with good cards and bad ones, repeats and cancels. The same seed gives the
/// same orders.
pub fn mixed(catalogue: Catalogue, customer: &str, seed: u64) -> impl Iterator<Item = PlaceOrder> {
    let mut random = StdRng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let method = match random.random_range(0..100) {
            0..5 => "pm_card_declined",
            5..10 => "pm_insufficient_funds",
            10..15 => "pm_capture_fails",
            15..18 => "pm_timeout_once",
            18..21 => "pm_charged_then_timeout",
            _ => "pm_card_visa",
        };
        let lines: BTreeMap<String, u32> = (0..random.random_range(1..=3))
            .map(|_| (catalogue.sku(random.random_range(0..catalogue.skus)), random.random_range(1..=3)))
            .collect();
        let lines: Vec<_> = lines.into_iter().collect();
        let cancel_delay = Duration::from_millis(random.random_range(0..=MAX_CANCEL_DELAY_MS));
        PlaceOrder {
            key: format!("{:032x}", random.random::<u128>()),
            body: order_body(
                customer,
                &format!("load+{}@example.com", random.random_range(0..10)),
                &lines,
                method,
            ),
            twice: random.random_bool(0.05),
            cancel_after: random.random_bool(0.08).then_some(cancel_delay),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOGUE: Catalogue = Catalogue { prefix: "TEST", skus: 3, scarce: 1 };

    #[test]
    fn a_seed_gives_the_same_orders_again() {
        let orders =
            |seed| mixed(CATALOGUE, "ada", seed).take(100).map(|order| order.body).collect::<Vec<_>>();
        assert_eq!(orders(7), orders(7));
        assert_ne!(orders(7), orders(8));
    }

    #[test]
    fn uniform_orders_take_products_in_turn() {
        let skus = uniform(CATALOGUE, "ada", "pm_card_visa").take(4);
        let skus: Vec<_> = skus.map(|order| order.body["lines"][0]["sku"].clone()).collect();
        assert_eq!(skus, ["TEST-0", "TEST-1", "TEST-2", "TEST-0"]);
        assert_eq!([0, 1, 2].map(|number| CATALOGUE.quantity(number)), [PLENTY, PLENTY, SCARCE]);
    }
}
