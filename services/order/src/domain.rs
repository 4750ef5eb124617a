//! The life of an order, pure: what it subscriptions, what it is told, and what becomes of it.
//!
//! An order is a projection of its log. [`react`] and the `decide_` functions only say which facts to record;
//! [`apply`] alone changes an order, when a fact is recorded and when the log is [folded](fold) again.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use contracts::{
    CancelReason, Currency, Customer, Event, EventSet, EventType, Money, OrderCancelled, OrderCompleted,
    OrderConfirmed, OrderId, OrderLine, OrderPlaced, PaymentMethod, Sku, StockLine,
};
use system::Service;

use crate::state::{Payment, Status, Stock};

/// How many lines an order has at the most; it has at least one.
pub const MAX_LINES: usize = 50;

/// An order, as its log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Who ordered.
    pub customer: Customer,
    /// What, at the prices it was placed at.
    pub lines: Vec<OrderLine>,
    /// The sum of the lines.
    pub total: Money,
    /// How it is to be paid.
    pub payment_method: PaymentMethod,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// Until when it waits for stock and money.
    pub deadline_at: DateTime<Utc>,
    /// How far it has come.
    pub status: Status,
    /// Why it was cancelled.
    pub reason: Option<CancelReason>,
    /// What is known of its stock.
    pub stock: Stock,
    /// What is known of its money.
    pub payment: Payment,
    /// What was heard, once each: it tells a repeat from a late answer.
    pub heard: BTreeSet<EventType>,
    /// How many facts its log has.
    pub version: i64,
}

/// A customer's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    /// Who orders.
    pub customer: Customer,
    /// What.
    pub lines: Vec<StockLine>,
    /// How it is to be paid.
    pub payment_method: PaymentMethod,
}

/// The price of each SKU on sale.
pub type Prices = HashMap<Sku, Money>;

/// Why a command is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too few lines or too many.
    #[error("an order has 1 to {MAX_LINES} lines, not {0}")]
    LineCount(usize),
    /// A SKU stands in several lines.
    #[error("{0} stands in more than one line: add the quantities up")]
    RepeatedSku(Sku),
    /// SKUs that have no price here.
    #[error("not for sale: {}", join(.0))]
    UnknownSkus(Vec<Sku>),
    /// Lines that are not priced in one currency.
    #[error("an order is in one currency, not in {}: place one order for each", join(.0))]
    SeveralCurrencies(Vec<Currency>),
    /// A total that no amount can hold.
    #[error("the total is too large")]
    TotalTooLarge,
    /// The order is completed, and can be cancelled no more.
    #[error("the order is completed: it can no longer be cancelled")]
    Completed,
}

/// A fact that cannot be, given what is known of the order: a bug, here or at the announcer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransition {
    /// Nobody placed such an order here.
    #[error("order {0} is not known and cannot hear {1}")]
    Unknown(String, EventType),
    /// The order cannot have come to this.
    #[error("order {order_id} is {status} (stock {stock}, payment {payment}) and cannot hear {event_type}")]
    Contradiction {
        /// The order.
        order_id: OrderId,
        /// Its status.
        status: Status,
        /// Its stock.
        stock: Stock,
        /// Its payment.
        payment: Payment,
        /// What it heard.
        event_type: EventType,
    },
}

impl InvalidTransition {
    /// A fact about an order that is not there.
    #[must_use]
    pub fn unknown(heard: &Event) -> Self {
        Self::Unknown(heard.subject().to_string(), heard.event_type())
    }
}

/// What an order gets to hear, and the facts to record: the one heard, then those to announce.
///
/// Nothing is recorded of a repeat. Answers that come after the cancel are recorded, in whatever order, for the
/// sides to close.
///
/// # Errors
/// When the fact cannot be.
pub fn react(order: &Order, heard: &Event) -> Result<Vec<Event>, InvalidTransition> {
    use Status::{Cancelled, Completed, Confirmed, Pending};
    if order.heard.contains(&heard.event_type()) {
        return Ok(Vec::new());
    }
    let announced = match (order.status, heard) {
        _ if order.contradicts(heard) => return Err(order.invalid_transition(heard)),

        (Pending, Event::StockReserved(_)) if order.payment == Payment::Authorized => Some(order.confirmed()),
        (Pending, Event::PaymentAuthorized(_)) if order.stock == Stock::Reserved => Some(order.confirmed()),
        (Pending, Event::StockReserved(_) | Event::PaymentAuthorized(_)) => None,
        (Pending, Event::StockRejected(_)) => Some(order.cancelled(CancelReason::OutOfStock)),
        (Pending, Event::PaymentDeclined(_)) => Some(order.cancelled(CancelReason::PaymentDeclined)),

        (Confirmed, Event::PaymentCaptured(_)) => Some(order.completed()),
        (Confirmed, Event::PaymentCaptureFailed(_)) => Some(order.cancelled(CancelReason::PaymentFailed)),

        (Cancelled, answer) if answers(answer) => None,

        (Pending | Confirmed | Completed | Cancelled, _) => return Err(order.invalid_transition(heard)),
    };
    Ok(std::iter::once(heard.clone()).chain(announced).collect())
}

/// A customer places an order.
///
/// # Errors
/// When the command breaks a rule.
pub fn decide_place(order_id: OrderId, command: PlaceOrder, prices: &Prices) -> Result<OrderPlaced, Refusal> {
    let PlaceOrder { customer, lines, payment_method } = command;
    if !(1..=MAX_LINES).contains(&lines.len()) {
        return Err(Refusal::LineCount(lines.len()));
    }
    let mut skus = BTreeSet::new();
    if let Some(line) = lines.iter().find(|line| !skus.insert(&line.sku)) {
        return Err(Refusal::RepeatedSku(line.sku.clone()));
    }
    let unknown: Vec<Sku> = skus.into_iter().filter(|sku| !prices.contains_key(sku)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Refusal::UnknownSkus(unknown));
    }
    let lines: Vec<OrderLine> = lines
        .into_iter()
        .filter_map(|StockLine { sku, quantity }| {
            let unit_price = prices.get(&sku)?.clone();
            Some(OrderLine { sku, quantity, unit_price })
        })
        .collect();
    let total = total(&lines)?;
    Ok(OrderPlaced { order_id, customer, lines, total, payment_method })
}

/// The customer cancels. To cancel again changes nothing.
///
/// # Errors
/// When the order is completed.
pub fn decide_cancel(order: &Order) -> Result<Vec<Event>, Refusal> {
    match order.status {
        Status::Pending | Status::Confirmed => Ok(vec![order.cancelled(CancelReason::CustomerRequest)]),
        Status::Cancelled => Ok(Vec::new()),
        Status::Completed => Err(Refusal::Completed),
    }
}

/// The clock says `now`: an order that still waits at its deadline is cancelled.
#[must_use]
pub fn decide_timeout(order: &Order, now: DateTime<Utc>) -> Vec<Event> {
    if order.status == Status::Pending && now >= order.deadline_at {
        vec![order.cancelled(CancelReason::TimedOut)]
    } else {
        Vec::new()
    }
}

/// Changes an order by a fact of its log. Nothing else changes one.
pub fn apply(order: &mut Order, fact: &Event) {
    order.version += 1;
    if answers(fact) {
        order.heard.insert(fact.event_type());
    }
    order.stock = order.stock.advanced_by(fact);
    order.payment = order.payment.advanced_by(fact);
    match fact {
        Event::OrderConfirmed(_) => order.status = Status::Confirmed,
        Event::OrderCompleted(_) => order.status = Status::Completed,
        Event::OrderCancelled(data) => {
            order.status = Status::Cancelled;
            order.reason = Some(data.reason);
        }
        _ => {}
    }
}

/// The order that a log tells of, from its two times and its facts in the order of their versions.
/// None when the log does not begin with `order.placed`.
pub fn fold<'a>(
    placed_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    log: impl IntoIterator<Item = &'a Event>,
) -> Option<Order> {
    let mut log = log.into_iter();
    let Some(Event::OrderPlaced(placed)) = log.next() else { return None };
    let mut order = Order::placed(placed.clone(), placed_at, deadline_at);
    for fact in log {
        apply(&mut order, fact);
    }
    Some(order)
}

/// An answer that an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// Who gives it.
    pub from: Service,
    /// The answer is one of these.
    pub any_of: &'static [EventType],
    /// When the order stops waiting; none when it waits until the answer comes.
    pub until: Option<DateTime<Utc>>,
}

impl Order {
    /// An order as `order.placed` begins it.
    #[must_use]
    pub fn placed(placed: OrderPlaced, placed_at: DateTime<Utc>, deadline_at: DateTime<Utc>) -> Self {
        let OrderPlaced { order_id, customer, lines, total, payment_method } = placed;
        Self {
            id: order_id,
            customer,
            lines,
            total,
            payment_method,
            placed_at,
            deadline_at,
            status: Status::Pending,
            reason: None,
            stock: Stock::Open,
            payment: Payment::Open,
            heard: BTreeSet::new(),
            version: 1,
        }
    }

    /// Whether it is cancelled and all that was done for it is undone.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.status == Status::Cancelled && self.stock.closed() && self.payment.closed()
    }

    /// What it waits for next.
    #[must_use]
    pub fn awaits(&self) -> Vec<Awaited> {
        let (stock, payment, until) = match self.status {
            Status::Pending => (self.stock.answers(), self.payment.answers(), Some(self.deadline_at)),
            Status::Confirmed => (&[][..], self.payment.captures(), None),
            Status::Completed => (&[][..], &[][..], None),
            Status::Cancelled => (self.stock.closings(), self.payment.closings(), None),
        };
        [(Service::Inventory, stock), (Service::Payment, payment)]
            .into_iter()
            .filter(|(_, any_of)| !any_of.is_empty())
            .map(|(from, any_of)| Awaited { from, any_of, until })
            .collect()
    }

    fn contradicts(&self, heard: &Event) -> bool {
        self.stock.contradicts(heard) || self.payment.contradicts(heard)
    }

    fn invalid_transition(&self, heard: &Event) -> InvalidTransition {
        let Self { id: order_id, status, stock, payment, .. } = *self;
        InvalidTransition::Contradiction { order_id, status, stock, payment, event_type: heard.event_type() }
    }

    fn confirmed(&self) -> Event {
        let (customer, lines, total) = (self.customer.clone(), self.lines.clone(), self.total.clone());
        OrderConfirmed { order_id: self.id, customer, lines, total }.into()
    }

    fn cancelled(&self, reason: CancelReason) -> Event {
        OrderCancelled { order_id: self.id, customer: self.customer.clone(), reason }.into()
    }

    fn completed(&self) -> Event {
        let (order_id, customer) = (self.id, self.customer.clone());
        OrderCompleted { order_id, customer, lines: self.lines.clone(), total: self.total.clone() }.into()
    }
}

/// Whether a fact is an answer of inventory or payment to an order.
fn answers(fact: &Event) -> bool {
    fact.order_id().is_some() && Service::Order.subscriptions().contains(&fact.event_type())
}

/// The sum of the lines.
fn total(lines: &[OrderLine]) -> Result<Money, Refusal> {
    let currencies: BTreeSet<&Currency> = lines.iter().map(|line| &line.unit_price.currency).collect();
    let mut currencies = currencies.into_iter().cloned();
    let currency = currencies.next().ok_or(Refusal::LineCount(0))?;
    let others: Vec<Currency> = currencies.collect();
    if !others.is_empty() {
        return Err(Refusal::SeveralCurrencies([vec![currency], others].concat()));
    }
    let amount_minor = lines
        .iter()
        .try_fold(0_i64, |sum, line| {
            let amount = line.unit_price.amount_minor.checked_mul(line.quantity.get().into())?;
            sum.checked_add(amount)
        })
        .ok_or(Refusal::TotalTooLarge)?;
    Ok(Money { amount_minor, currency })
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
