//! What people do in a run: a shop is stocked, customers order and change their minds.

use std::fmt;

use contracts::{Currency, Customer, Money, OrderId, Quantity, Sku, StockLine};
use order::domain::PlaceOrder;
use payment_provider::domain::PaymentMethod;
use system::Service;
use uuid::Uuid;

use crate::choices::Choices;

const MOST_SKUS: usize = 2;
const MOST_ORDERS: usize = 4;
const MOST_PIECES: usize = 3;

/// Something that a person does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A product is listed at a price.
    List(Sku, Money),
    /// Pieces arrive.
    Restock(Sku, i64),
    /// The pieces are counted, and there are so many more, or fewer.
    Adjust(Sku, i64),
    /// A product is no longer for sale.
    Delist(Sku),
    /// A customer orders.
    Place(OrderId, PlaceOrder),
    /// A customer cancels.
    Cancel(OrderId),
}

impl Act {
    /// The order that it is about.
    pub(crate) fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Place(order_id, _) | Self::Cancel(order_id) => Some(*order_id),
            Self::List(..) | Self::Restock(..) | Self::Adjust(..) | Self::Delist(..) => None,
        }
    }

    /// The service that is asked to do it.
    pub(crate) fn service(&self) -> Service {
        match self {
            Self::List(..) | Self::Restock(..) | Self::Adjust(..) | Self::Delist(..) => Service::Inventory,
            Self::Place(..) | Self::Cancel(..) => Service::Order,
        }
    }
}

/// All that people will do, in the order of a quiet day. On another day it happens in any order.
pub(crate) fn plan(choices: &mut Choices) -> Vec<Act> {
    let mut acts = Vec::new();
    let skus: Vec<Sku> = (0..=choices.below(MOST_SKUS)).map(sku).collect();
    for sku in &skus {
        acts.push(Act::List(sku.clone(), euros(100)));
        acts.push(Act::Restock(sku.clone(), 1 + small(choices, 4)));
    }
    if choices.chance(30) {
        acts.push(Act::List(skus[0].clone(), euros(150)));
        acts.push(Act::Restock(skus[0].clone(), 1));
    }
    if choices.chance(20) {
        acts.push(Act::Delist(skus[0].clone()));
    }
    if choices.chance(30) {
        acts.push(Act::Adjust(skus[0].clone(), choices.of(&[-2, -1, 1])));
    }
    for number in 0..=choices.below(MOST_ORDERS) {
        let order_id = order_id(number);
        acts.push(Act::Place(order_id, command(choices, &skus)));
        if choices.chance(40) {
            acts.push(Act::Cancel(order_id));
        }
    }
    acts
}

/// Which order it is, for people: counted from 1.
pub(crate) fn number(order_id: OrderId) -> u128 {
    order_id.0.as_u128()
}

fn order_id(index: usize) -> OrderId {
    OrderId(Uuid::from_u128(index as u128 + 1))
}

fn sku(index: usize) -> Sku {
    ["MUG", "BEANS"][index].parse().expect("a SKU")
}

fn command(choices: &mut Choices, skus: &[Sku]) -> PlaceOrder {
    let count = 1 + choices.below(skus.len());
    let line = |sku: &Sku| {
        let quantity = Quantity::try_from(1 + small(choices, MOST_PIECES)).expect("a quantity");
        StockLine { sku: sku.clone(), quantity }
    };
    let lines = skus.iter().take(count).map(line).collect();
    let customer =
        Customer { id: "ada".parse().expect("an id"), email: "ada@example.com".parse().expect("an address") };
    // Half of the cards are the plain one, which is the first.
    let card = if choices.chance(50) { choices.of(PaymentMethod::ALL) } else { PaymentMethod::CardVisa };
    let payment_method = card.into_str().parse().expect("a token");
    PlaceOrder { customer, lines, payment_method, expected_total: None }
}

fn small(choices: &mut Choices, count: usize) -> i64 {
    i64::try_from(choices.below(count)).expect("a small number")
}

fn euros(amount_minor: i64) -> Money {
    let currency: Currency = "EUR".parse().expect("a currency");
    Money { amount_minor, currency }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(sku, price) => write!(f, "{sku} is listed at {}", price.amount_minor),
            Self::Restock(sku, quantity) => write!(f, "{quantity} pieces of {sku} arrive"),
            Self::Adjust(sku, delta) => write!(f, "the stock of {sku} is adjusted by {delta:+}"),
            Self::Delist(sku) => write!(f, "{sku} is delisted"),
            Self::Place(order_id, command) => {
                let line = |line: &StockLine| format!("{} x {}", line.quantity.get(), line.sku);
                let lines = command.lines.iter().map(line).collect::<Vec<_>>().join(", ");
                let number = number(*order_id);
                write!(f, "a customer places order {number}: {lines}, {}", command.payment_method)
            }
            Self::Cancel(order_id) => write!(f, "the customer cancels order {}", number(*order_id)),
        }
    }
}
