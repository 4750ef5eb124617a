//! What must hold whatever is consumed, in whatever order, however often.

use std::collections::BTreeMap;

use contracts::{CancelReason, Customer, EventType, Money, OrderCancelled, OrderConfirmed, Quantity};
use proptest::{
    collection::{btree_map, vec},
    prelude::{Just, Strategy, prop_oneof},
    prop_assert, prop_assert_eq, proptest,
};

use super::*;

const ORDERS: u128 = 4;
const SKUS: [&str; 3] = ["BEANS", "MUG", "POT"];

fn order_id(number: u128) -> OrderId {
    OrderId(uuid::Uuid::from_u128(number))
}

fn sku(text: &str) -> Sku {
    text.parse().expect("a SKU")
}

fn customer() -> Customer {
    Customer { id: "c-1".parse().expect("an id"), email: "ada@example.com".parse().expect("an address") }
}

fn euros(amount_minor: i64) -> Money {
    Money { amount_minor, currency: "EUR".parse().expect("a currency") }
}

fn placed(order: u128, lines: &[(&str, i64)]) -> Event {
    let line = |(text, quantity): &(&str, i64)| OrderLine {
        sku: sku(text),
        quantity: Quantity::try_from(*quantity).expect("a quantity"),
        unit_price: euros(100),
    };
    OrderPlaced {
        order_id: order_id(order),
        customer: customer(),
        lines: lines.iter().map(line).collect(),
        total: euros(100),
        payment_method: "pm_card_visa".parse().expect("a payment method"),
    }
    .into()
}

fn confirmed(order: u128) -> Event {
    OrderConfirmed { order_id: order_id(order), customer: customer(), lines: Vec::new(), total: euros(100) }
        .into()
}

fn cancelled(order: u128) -> Event {
    OrderCancelled { order_id: order_id(order), customer: customer(), reason: CancelReason::TimedOut }.into()
}

/// Inventory as a whole: what the tables hold, and all that was published.
#[derive(Default)]
struct Inventory {
    reservations: BTreeMap<OrderId, Reservation>,
    stock: Stock,
    ledger: Vec<Movement>,
    published: Vec<Event>,
}

impl Inventory {
    fn with(levels: &[(&str, i64)]) -> Self {
        let mut inventory = Self::default();
        for (text, quantity) in levels {
            let sku = sku(text);
            inventory.stock.0.insert(sku.clone(), Level::default());
            if *quantity > 0 {
                let restock = Level::default().restock(&sku, *quantity).expect("a restock");
                inventory.stock.apply(std::slice::from_ref(&restock));
                inventory.ledger.push(restock);
            }
        }
        inventory
    }

    fn take(&mut self, event: &Event) -> Result<(), InvalidTransition> {
        let order_id = event.order_id().expect("an order's event");
        let reservation =
            self.reservations.entry(order_id).or_insert_with(|| Reservation::placeholder(order_id));
        let Transition { next, events, movements } = react(reservation, &self.stock, event)?;
        assert_eq!(next.version, reservation.version + i64::try_from(events.len()).expect("few"));
        *reservation = next;
        self.stock.apply(&movements);
        self.ledger.extend(movements);
        self.published.extend(events);
        Ok(())
    }

    /// Corrects the stock, or does not, where that is refused.
    fn adjust(&mut self, text: &str, delta: i64) {
        let (sku, reason) = (sku(text), Reason::new("counted".to_owned()).expect("a reason"));
        if let Ok(adjustment) = self.stock.0[&sku].adjust(&sku, delta, reason) {
            self.stock.apply(std::slice::from_ref(&adjustment));
            self.ledger.push(adjustment);
        }
    }

    fn status(&self, order: u128) -> Status {
        self.reservations.get(&order_id(order)).map_or(Status::Placeholder, |reservation| reservation.status)
    }

    fn level(&self, text: &str) -> (i64, i64) {
        let level = self.stock.0[&sku(text)];
        (level.on_hand, level.reserved)
    }

    fn published_of(&self, order: u128, event_type: EventType) -> usize {
        let of =
            |event: &&Event| event.order_id() == Some(order_id(order)) && event.event_type() == event_type;
        self.published.iter().filter(of).count()
    }

    /// What is reserved of the SKU, by the reservations.
    fn reserved(&self, of: &Sku) -> i64 {
        let reserved =
            self.reservations.values().filter(|reservation| reservation.status == Status::Reserved);
        let lines = reserved.flat_map(|reservation| &reservation.lines);
        lines.filter(|line| line.sku == *of).map(|line| i64::from(line.quantity)).sum()
    }
}

#[test]
fn placed_and_confirmed_order_is_reserved_and_committed() {
    let mut inventory = Inventory::with(&[("BEANS", 5), ("MUG", 3)]);
    inventory.take(&placed(1, &[("BEANS", 2), ("MUG", 3)])).expect("valid");
    assert_eq!((inventory.level("BEANS"), inventory.level("MUG")), ((5, 2), (3, 3)));
    inventory.take(&confirmed(1)).expect("valid");
    assert_eq!((inventory.level("BEANS"), inventory.level("MUG")), ((3, 0), (0, 0)));
}

#[test]
fn cancelled_committed_order_is_back_on_hand() {
    let mut inventory = Inventory::with(&[("BEANS", 5)]);
    for event in [placed(1, &[("BEANS", 2)]), confirmed(1), cancelled(1)] {
        inventory.take(&event).expect("valid");
    }
    assert_eq!((inventory.status(1), inventory.level("BEANS")), (Status::Released, (5, 0)));
}

#[test]
fn rejection_names_every_shortage_and_reserves_nothing() {
    let mut inventory = Inventory::with(&[("BEANS", 5), ("MUG", 1)]);
    inventory.take(&placed(1, &[("BEANS", 5), ("MUG", 2), ("NO-SUCH-THING", 1)])).expect("valid");
    let Some(Event::StockRejected(rejected)) = inventory.published.pop() else { panic!("must be rejected") };
    let shortages: Vec<_> = rejected
        .shortages
        .iter()
        .map(|short| (short.sku.as_str(), short.requested.get(), short.available))
        .collect();
    assert_eq!(shortages, [("MUG", 2, 1), ("NO-SUCH-THING", 1, 0)]);
    assert_eq!((inventory.level("BEANS"), inventory.level("MUG")), ((5, 0), (1, 0)));
}

#[test]
fn cancel_before_its_order_leaves_a_tombstone() {
    let mut inventory = Inventory::with(&[("BEANS", 5)]);
    inventory.take(&cancelled(1)).expect("valid");
    let Some(Event::StockReleased(released)) = inventory.published.last() else { panic!("must be released") };
    assert_eq!(released.lines, []);
    inventory.take(&placed(1, &[("BEANS", 1)])).expect("valid");
    assert_eq!(
        (inventory.status(1), inventory.level("BEANS"), inventory.published.len()),
        (Status::Released, (5, 0), 1)
    );
}

#[test]
fn two_orders_for_the_last_piece_get_one() {
    let mut inventory = Inventory::with(&[("BEANS", 1)]);
    for order in [1, 2] {
        inventory.take(&placed(order, &[("BEANS", 1)])).expect("valid");
    }
    assert_eq!((inventory.status(1), inventory.status(2)), (Status::Reserved, Status::Rejected));
}

#[test]
fn lines_that_break_the_contract_are_invalid() {
    let mut inventory = Inventory::with(&[("BEANS", 1)]);
    for lines in [&[][..], &[("BEANS", 1), ("BEANS", 1)]] {
        let invalid = inventory.take(&placed(1, lines)).expect_err("a broken contract");
        assert_eq!(
            invalid.to_string(),
            "reservation of order 00000000-0000-0000-0000-000000000001 is placeholder and cannot take order.placed with \
             no lines, or with a SKU twice"
        );
    }
    assert_eq!(inventory.level("BEANS"), (1, 0));
}

#[test]
fn statuses_parse_back() {
    for status in Status::VARIANTS {
        assert_eq!(status.into_str().parse(), Ok(*status));
    }
    assert!("gone".parse::<Status>().is_err());
}

/// The facts of a few orders, each any number of times, in any order: the lines of an order never change.
fn histories() -> impl Strategy<Value = Vec<Event>> {
    let lines = btree_map(0..SKUS.len(), 1..5_i64, 1..=SKUS.len());
    vec(lines, ORDERS as usize).prop_flat_map(|orders| {
        let fact = (0..ORDERS).prop_flat_map(move |order| {
            let lines: Vec<_> =
                orders[order as usize].iter().map(|(sku, quantity)| (SKUS[*sku], *quantity)).collect();
            prop_oneof![Just(placed(order, &lines)), Just(confirmed(order)), Just(cancelled(order))]
        });
        vec(fact, 0..40)
    })
}

proptest! {
    #[test]
    fn stock_is_conserved_in_every_history(
        history in histories(), on_hand in 0..12_i64, deltas in vec(-4..5_i64, 40),
    ) {
        let mut inventory = Inventory::with(&SKUS.map(|text| (text, on_hand)));
        for (number, (event, delta)) in history.iter().zip(deltas).enumerate() {
            inventory.adjust(SKUS[number % SKUS.len()], delta);
            let before = inventory.stock.clone();
            if inventory.take(event).is_err() {
                prop_assert_eq!(event.event_type(), EventType::OrderConfirmed);
                prop_assert_eq!(&inventory.stock, &before);
            }
            for (sku, level) in &inventory.stock.0 {
                let of_sku = || inventory.ledger.iter().filter(|movement| movement.sku == *sku);
                prop_assert!(0 <= level.reserved && level.reserved <= level.on_hand, "{sku}: {level:?}");
                prop_assert_eq!(of_sku().map(Movement::on_hand_delta).sum::<i64>(), level.on_hand);
                prop_assert_eq!(of_sku().map(Movement::reserved_delta).sum::<i64>(), level.reserved);
                prop_assert_eq!(inventory.reserved(sku), level.reserved);
            }
        }
    }

    #[test]
    fn order_gets_at_most_one_of_each_answer(history in histories(), on_hand in 0..12_i64) {
        let mut inventory = Inventory::with(&SKUS.map(|text| (text, on_hand)));
        let mut cancels = [0; ORDERS as usize];
        for event in &history {
            let number = event.order_id().expect("an order's event").0.as_u128() as usize;
            cancels[number] += usize::from(event.event_type() == EventType::OrderCancelled);
            let _ = inventory.take(event);
        }
        for order in 0..ORDERS {
            let published = |event_type| inventory.published_of(order, event_type);
            let (reserved, rejected) = (published(EventType::StockReserved), published(EventType::StockRejected));
            let (committed, released) = (published(EventType::StockCommitted), published(EventType::StockReleased));
            prop_assert!(reserved + rejected <= 1);
            prop_assert!(committed <= reserved, "never a commit without a reservation");
            let closes = rejected > 0 || cancels[order as usize] > 0;
            prop_assert_eq!(rejected + released, usize::from(closes), "exactly one compensation reply");
        }
    }

    #[test]
    fn repeat_changes_nothing(history in histories(), on_hand in 0..12_i64) {
        let mut inventory = Inventory::with(&SKUS.map(|text| (text, on_hand)));
        for event in &history {
            if inventory.take(event).is_ok() {
                let (reservations, published) = (inventory.reservations.clone(), inventory.published.len());
                prop_assert_eq!(inventory.take(event), Ok(()));
                prop_assert_eq!(&inventory.reservations, &reservations);
                prop_assert_eq!(inventory.published.len(), published);
            }
        }
    }
}
