//! The life of an order: what it consumes, what is commanded, and what becomes of it. Pure.
//!
//! [`react`] takes events, the `decide_` functions take commands, and both take the time; they say what the order becomes
//! and what it publishes. An order is a projection of its event log: [`replay`] of the log gives the same order.

mod deadlines;

pub use self::deadlines::{Deadlines, MAX_GAP, MAX_LAG, MessageFlow, Moment};

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use contracts::{
    CancelReason, Currency, Customer, Event, EventType, InvalidTransition, Money, OrderCancelled,
    OrderCompleted, OrderConfirmed, OrderId, OrderLine, OrderPlaced, PaymentMethod, Sku, StockLine,
};
use system::Service;

use crate::state::{Payment, Status, Stock};

/// The most lines of an order; it has at least one.
pub const MAX_LINES: usize = 50;
/// The largest total, in minor units of its currency: every JSON reader has this number exactly (RFC 8259, section 6).
pub const MAX_TOTAL_MINOR: i64 = 1_000_000_000_000;

/// An order as its event log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    pub id: OrderId,
    pub customer: Customer,
    /// At the prices of the time when it was placed.
    pub lines: Vec<OrderLine>,
    pub total: Money,
    pub payment_method: PaymentMethod,
    pub placed_at: DateTime<Utc>,
    pub deadlines: Deadlines,
    pub status: Status,
    /// Why it was cancelled; of a cancelled order only.
    pub reason: Option<CancelReason>,
    pub stock: Stock,
    pub payment: Payment,
    /// How much of the total was given back, in minor units of its currency.
    pub refunded_minor: i64,
    /// The events consumed, each with the version of the aggregate that published it: tells a repeat from a late event.
    pub consumed: BTreeSet<(EventType, i64)>,
    pub version: i64,
}

/// The command to place an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceOrder {
    pub customer: Customer,
    pub lines: Vec<StockLine>,
    pub payment_method: PaymentMethod,
    /// What the customer was shown, if they say it.
    pub expected_total: Option<Money>,
}

pub type Prices = HashMap<Sku, Money>;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an order has 1 to {MAX_LINES} lines, not {0}")]
    LineCount(usize),
    #[error("{0} stands in more than one line: add the quantities up")]
    RepeatedSku(Sku),
    /// They have no price here.
    #[error("not for sale: {}", join(.0))]
    UnknownSkus(Vec<Sku>),
    #[error("an order is in one currency, not in {}: place one order for each", join(.0))]
    SeveralCurrencies(Vec<Currency>),
    #[error("a total is at most {MAX_TOTAL_MINOR} minor units")]
    TotalTooLarge,
    #[error("the total is {0}, not what was expected: ask the customer again")]
    OtherTotal(Money),
    #[error("the order is completed: it can no longer be cancelled")]
    Completed,
}

/// What an order becomes, and what it publishes about that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The order afterwards; the same version means that nothing changed.
    pub next: Order,
    /// To publish; each made a version of the order, the last of them its newest.
    pub events: Vec<Event>,
}

/// What an order makes of an event, which is of that version of the aggregate that published it.
///
/// Nothing changes by a repeat, which is told by type and aggregate version. Answers to a cancelled order are noted in
/// whatever order they come, so that it settles. An answer that is consumed at the deadline or later postpones the deadline
/// or cancels the order, as the watcher would, so that it does not matter which of them comes first.
///
/// # Errors
/// [`InvalidTransition`] when the event cannot follow what is known of the order.
pub fn react(
    order: &Order,
    event: &Event,
    aggregate_version: i64,
    moment: &Moment,
) -> Result<Transition, InvalidTransition> {
    use Status::{Cancelled, Confirmed, Pending};
    if order.consumed.contains(&(event.event_type(), aggregate_version)) {
        return Ok(Transition { next: order.clone(), events: Vec::new() });
    }
    let invalid = || order.invalid_transition(event);
    let next = order.after_answer(event, aggregate_version).ok_or_else(invalid)?.postponed(moment);
    let published = match (order.status, event) {
        (Pending, Event::StockReserved(_) | Event::PaymentAuthorized(_)) if next.is_ready() => {
            Some(next.confirmed())
        }
        (Pending, Event::StockReserved(_) | Event::PaymentAuthorized(_)) => None,
        (Pending, Event::StockRejected(_)) => Some(next.cancelled(CancelReason::OutOfStock)),
        (Pending, Event::PaymentDeclined(_)) => Some(next.cancelled(CancelReason::PaymentDeclined)),

        (Confirmed, Event::PaymentCaptured(_)) => Some(next.completed()),
        (Confirmed, Event::PaymentCaptureFailed(_)) => Some(next.cancelled(CancelReason::PaymentFailed)),

        (Cancelled, answer) if is_answer(answer) => None,
        _ => return Err(invalid()),
    };
    let too_late = next.timed_out(moment.now).map(|reason| next.cancelled(reason));
    Ok(next.publishing(too_late.or(published)))
}

/// Prices the lines of a command and adds them up.
///
/// # Errors
/// When the command breaks a rule.
pub fn decide_place(order_id: OrderId, command: PlaceOrder, prices: &Prices) -> Result<OrderPlaced, Refusal> {
    let PlaceOrder { customer, lines, payment_method, expected_total } = command;
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
    if expected_total.is_some_and(|expected| expected != total) {
        return Err(Refusal::OtherTotal(total));
    }
    Ok(OrderPlaced { order_id, customer, lines, total, payment_method })
}

/// The customer cancels. To cancel again changes nothing.
///
/// # Errors
/// When the order is completed.
pub fn decide_cancel(order: &Order) -> Result<Transition, Refusal> {
    let cancelled = match order.status {
        Status::Pending | Status::Confirmed => Some(order.cancelled(CancelReason::CustomerRequest)),
        Status::Cancelled => None,
        Status::Completed => return Err(Refusal::Completed),
    };
    Ok(order.clone().publishing(cancelled))
}

/// Time passes: an order that is still pending or confirmed at its deadline is cancelled, unless an outage of our own
/// postpones that.
#[must_use]
pub fn decide_timeout(order: &Order, moment: &Moment) -> Transition {
    let order = order.clone().postponed(moment);
    let cancelled = order.timed_out(moment.now).map(|reason| order.cancelled(reason));
    order.publishing(cancelled)
}

/// The order that an event log tells of, from its times and its events with their aggregate versions, oldest first.
/// `None` when the log does not begin with `order.placed`.
pub fn replay<'a>(
    placed_at: DateTime<Utc>,
    deadlines: Deadlines,
    log: impl IntoIterator<Item = (&'a Event, i64)>,
) -> Option<Order> {
    let mut log = log.into_iter();
    let Some((Event::OrderPlaced(placed), _)) = log.next() else { return None };
    let order = Order::placed(placed.clone(), placed_at, deadlines);
    log.try_fold(order, |order, (event, aggregate_version)| {
        if is_answer(event) {
            order.after_answer(event, aggregate_version)
        } else {
            Some(order.after_own(event))
        }
    })
}

/// An event that an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    pub from: Service,
    /// It is one of these.
    pub any_of: &'static [EventType],
    /// When the order stops waiting; `None` when it waits for as long as it takes.
    pub until: Option<DateTime<Utc>>,
}

impl Order {
    /// An order as `order.placed` begins it.
    #[must_use]
    pub fn placed(placed: OrderPlaced, placed_at: DateTime<Utc>, deadlines: Deadlines) -> Self {
        let OrderPlaced { order_id, customer, lines, total, payment_method } = placed;
        Self {
            id: order_id,
            customer,
            lines,
            total,
            payment_method,
            placed_at,
            deadlines,
            status: Status::Pending,
            reason: None,
            stock: Stock::Open,
            payment: Payment::Open,
            refunded_minor: 0,
            consumed: BTreeSet::new(),
            version: 1,
        }
    }

    /// Whether it is cancelled and both participants have compensated.
    pub fn settled(&self) -> bool {
        self.status == Status::Cancelled && self.stock.is_settled() && self.payment.is_settled()
    }

    /// When it is cancelled unless something else ends it, as known so far; `None` when it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        match self.status {
            Status::Pending => Some(self.deadlines.decision),
            Status::Confirmed => Some(self.deadlines.capture),
            Status::Completed | Status::Cancelled => None,
        }
    }

    /// The order with the decision deadline that holds at that moment.
    fn postponed(mut self, moment: &Moment) -> Self {
        if self.status == Status::Pending {
            self.deadlines = self.deadlines.postponed(moment);
        }
        self
    }

    /// Why it is cancelled if its deadline has come.
    fn timed_out(&self, now: DateTime<Utc>) -> Option<CancelReason> {
        let expired = self.deadline().is_some_and(|deadline| now >= deadline);
        expired.then_some(match self.status {
            Status::Confirmed => CancelReason::PaymentFailed,
            _ => CancelReason::TimedOut,
        })
    }

    /// The events that it waits for, by service.
    pub fn awaits(&self) -> Vec<Awaited> {
        let until = self.deadline();
        let (stock, payment) = (self.stock.awaited(self.status), self.payment.awaited(self.status));
        [(Service::Inventory, stock), (Service::Payment, payment)]
            .into_iter()
            .filter(|(_, any_of)| !any_of.is_empty())
            .map(|(from, any_of)| Awaited { from, any_of, until })
            .collect()
    }

    fn is_ready(&self) -> bool {
        (self.stock, self.payment) == (Stock::Reserved, Payment::Authorized)
    }

    /// The order with a consumed event noted; `None` when the event contradicts what is known.
    fn after_answer(&self, event: &Event, aggregate_version: i64) -> Option<Self> {
        let mut next = self.clone();
        next.stock = self.stock.after(event)?;
        next.payment = self.payment.after(event)?;
        if let Event::PaymentRefunded(refund) = event {
            next.refunded_minor = self.refunded_minor.saturating_add(refund.amount.amount_minor);
            // What is refunded in part was captured, and the rest of it is still to come back.
            if next.refunded_minor < self.total.amount_minor {
                next.payment = Payment::Captured;
            }
        }
        next.consumed.insert((event.event_type(), aggregate_version));
        next.version += 1;
        Some(next)
    }

    fn after_own(mut self, event: &Event) -> Self {
        match event {
            Event::OrderConfirmed(_) => self.status = Status::Confirmed,
            Event::OrderCompleted(_) => self.status = Status::Completed,
            Event::OrderCancelled(data) => {
                self.status = Status::Cancelled;
                self.reason = Some(data.reason);
            }
            _ => {}
        }
        self.version += 1;
        self
    }

    fn publishing(self, event: Option<Event>) -> Transition {
        let next = event.iter().fold(self, Self::after_own);
        Transition { next, events: event.into_iter().collect() }
    }

    fn invalid_transition(&self, event: &Event) -> InvalidTransition {
        let state = format!("{} (stock {}, payment {})", self.status, self.stock, self.payment);
        InvalidTransition::new("order", self.id, state, event.event_type())
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

/// Whether an event is an answer of a participant to an order.
fn is_answer(event: &Event) -> bool {
    event.order_id().is_some() && Service::Order.subscriptions().contains(&event.event_type())
}

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
            sum.checked_add(amount).filter(|sum| *sum <= MAX_TOTAL_MINOR)
        })
        .ok_or(Refusal::TotalTooLarge)?;
    Ok(Money { amount_minor, currency })
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
