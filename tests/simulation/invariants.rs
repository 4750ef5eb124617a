//! What must hold: some of it at any time, all of it once nothing is left to do.
//!
//! This is what can be known without servers. There are no dead letters here: what would become one, an invalid
//! transition, is a violation itself. Nor are there idempotency keys, or a measure of how long
//! things take: time passes only when somebody waits.

use std::collections::{BTreeMap, BTreeSet};

use analytics::domain::Status as Counted;
use contracts::{Event, NotificationKind, OrderId};
use inventory::domain::{Movement, MovementKind, Status as Held};
use notification::domain::Status as MailStatus;
use order::domain::{Order, replay};
use order::state::Status;
use payment::domain::{Action, Status as Paid};
use payment::ledger::Account;
use system::Service;

use crate::plan::number;
use crate::world::World;

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The invariant, as a sentence.
    pub(crate) invariant: &'static str,
    /// What was found instead.
    pub(crate) found: String,
}

/// A result, unless an invariant does not hold.
pub(crate) type Checked<T> = Result<T, Violation>;

impl Violation {
    pub(crate) fn new(invariant: &'static str, found: String) -> Self {
        Self { invariant, found }
    }
}

/// What holds after every step.
pub(crate) fn at_any_time(world: &World) -> Checked<()> {
    let inventory = &world.tables.inventory;
    for (sku, level) in &inventory.stock.0 {
        let sound = 0 <= level.reserved && level.reserved <= level.on_hand;
        holds(sound, "nothing is oversold", || format!("{sku}: {level:?}"))?;

        let pieces = |status| -> i64 {
            let there = inventory.reservations.values().filter(|it| it.status == status);
            there.flat_map(|it| &it.lines).filter(|it| it.sku == *sku).map(|it| i64::from(it.quantity)).sum()
        };
        let open = pieces(Held::Reserved);
        holds(level.reserved == open, "reserved stock is somebody's", || {
            format!("{sku}: {level:?}, {open}")
        })?;

        let of_sku = || inventory.ledger.iter().filter(|movement| movement.sku == *sku);
        let sums = (
            of_sku().map(Movement::on_hand_delta).sum::<i64>(),
            of_sku().map(Movement::reserved_delta).sum::<i64>(),
        );
        let levels = (level.on_hand, level.reserved);
        holds(sums == levels, "stock is the sum of its ledger", || format!("{sku}: {level:?}, {sums:?}"))?;

        let by_hand = [MovementKind::Restocked, MovementKind::Adjusted];
        let brought = of_sku().filter(|it| by_hand.contains(&it.kind)).map(|it| it.quantity).sum::<i64>();
        let (gone, sold) = (brought - level.on_hand, pieces(Held::Committed));
        holds(gone == sold, "what left the shelf was sold", || format!("{sku}: {gone} gone, {sold} sold"))?;
    }
    Ok(())
}

/// What holds when the processor is about to do as it is told.
pub(crate) fn before_a_call(world: &World, order_id: OrderId, action: Action) -> Checked<()> {
    let confirmed =
        |log: &Vec<(Event, i64)>| log.iter().any(|(event, _)| matches!(event, Event::OrderConfirmed(_)));
    let may = action != Action::Capture || world.tables.orders.logs.get(&order_id).is_some_and(confirmed);
    holds(may, "nothing is captured without a confirmed order", || format!("order {}", number(order_id)))
}

/// What holds when the mail server is about to take a mail: it is not told after what came after it.
pub(crate) fn before_a_mail(world: &World, order_id: OrderId, kind: NotificationKind) -> Checked<()> {
    let mut taken = world.outside.mails.iter().filter(|(_, id, _)| *id == order_id);
    let later = taken.find(|(.., what)| *what > kind);
    holds(later.is_none(), "mails leave in the order of their causes", || format!("{kind:?} after {later:?}"))
}

/// What holds when nothing is left to do.
pub(crate) fn at_rest(world: &World) -> Checked<()> {
    for order in world.tables.orders.rows.values() {
        order_is_over(order)?;
        order_is_its_log(world, order)?;
        stock_ended_as(world, order)?;
        money_ended_as(world, order)?;
        mails_ended_as(world, order)?;
    }
    nobody_else_has_anything(world)?;
    prices_are_the_products(world)?;
    analytics_is_a_recount(world)
}

fn order_is_over(order: &Order) -> Checked<()> {
    let over = order.status == Status::Completed || order.settled();
    holds(over, "every order is completed, or cancelled and settled", || format!("{order:?}"))
}

/// The log, replayed, is the row; it holds no event twice; and on its way the status never went back.
fn order_is_its_log(world: &World, order: &Order) -> Checked<()> {
    let log = &world.tables.orders.logs[&order.id];
    let replayed = |log: &[(Event, i64)]| {
        replay(order.placed_at, order.deadlines, log.iter().map(|(event, version)| (event, *version)))
    };
    holds(replayed(log).as_ref() == Some(order), "the log of an order, replayed, is its row", || {
        format!("{:?}", replayed(log))
    })?;
    // An event of the order's own happens once; others may, each with an aggregate version of its own.
    let identity = |(event, version): &(Event, i64)| {
        let event_type = event.event_type();
        (event_type, if event_type.owner() == Service::Order { 0 } else { *version })
    };
    let events: BTreeSet<_> = log.iter().map(identity).collect();
    holds(events.len() == log.len(), "the log of an order holds no event twice", || format!("{log:?}"))?;
    let mut before = Status::Pending;
    for length in 1..=log.len() {
        let after = replayed(&log[..length]).map_or(before, |it| it.status);
        holds(may_become(before, after), "a status never goes back", || {
            format!("{before} to {after}: {log:?}")
        })?;
        before = after;
    }
    Ok(())
}

fn may_become(before: Status, after: Status) -> bool {
    use Status::{Cancelled, Completed, Confirmed, Pending};
    before == after
        || matches!((before, after), (Pending, Confirmed | Cancelled) | (Confirmed, Completed | Cancelled))
}

fn stock_ended_as(world: &World, order: &Order) -> Checked<()> {
    let status = world.tables.inventory.reservations.get(&order.id).map(|it| it.status);
    let fits = match order.status {
        Status::Completed => status == Some(Held::Committed),
        _ => matches!(status, Some(Held::Rejected | Held::Released)),
    };
    holds(fits, "stock ends as its order does", || format!("{status:?} for {order:?}"))
}

/// The payment ended as the order did, and the ledger says of it what the processor's own books say, each at most once.
fn money_ended_as(world: &World, order: &Order) -> Checked<()> {
    let status = world.tables.payments.rows.get(&order.id).map(|it| it.status);
    let fits = match order.status {
        Status::Completed => status == Some(Paid::Captured),
        _ => matches!(status, Some(Paid::Declined | Paid::Voided | Paid::Refunded)),
    };
    holds(fits, "a payment ends as its order does", || format!("{status:?} for {order:?}"))?;

    let books = world.outside.books_of(order.id);
    let once = books.authorizations <= 1 && books.captures <= 1;
    holds(once, "an order is authorized and captured at most once", || format!("{books:?}"))?;
    let given_back = if order.status == Status::Completed { 0 } else { books.captured_minor };
    let kept_or_back = books.refunded_minor == given_back && books.held_minor == 0;
    let paid = order.status != Status::Completed || books.captured_minor == order.total.amount_minor;
    holds(kept_or_back && paid, "what was captured is a completed order's, or refunded", || {
        format!("{books:?} for {order:?}")
    })?;

    let ledger = accounts(world, order.id);
    let of = |account: Account| ledger.get(account.into_str()).copied().unwrap_or_default();
    holds(ledger.values().sum::<i64>() == 0, "the ledger sums to zero", || format!("{ledger:?}"))?;
    let agrees = (of(Account::AuthorizedHolds), of(Account::CapturedFunds), -of(Account::Refunds))
        == (books.held_minor, books.captured_minor, books.refunded_minor);
    holds(agrees, "the ledger says what the processor's books say", || format!("{ledger:?}, {books:?}"))
}

/// What stands in the accounts of an order.
fn accounts(world: &World, order_id: OrderId) -> BTreeMap<&'static str, i64> {
    let mut sums = BTreeMap::new();
    for new in world.tables.payments.ledger.iter().filter(|new| new.order_id == order_id) {
        for entry in new.posting.entries() {
            *sums.entry(entry.account.into_str()).or_default() += entry.amount.amount_minor;
        }
    }
    sums
}

/// One notification for each kind that there was reason for, none open; and what was sent is one mail, though it may
/// have left twice.
fn mails_ended_as(world: &World, order: &Order) -> Checked<()> {
    let due = world.tables.orders.logs[&order.id].iter().filter_map(|(event, version)| match event {
        Event::OrderConfirmed(_) => Some((NotificationKind::Confirmed, *version)),
        Event::OrderCancelled(_) => Some((NotificationKind::Cancelled, *version)),
        Event::PaymentRefunded(_) => Some((NotificationKind::Refunded, *version)),
        _ => None,
    });
    let due: BTreeSet<_> = due.collect();
    let mails = world.tables.mails.rows.get(&order.id).map(|it| &it.notifications);
    let there: BTreeSet<_> = mails.into_iter().flat_map(BTreeMap::keys).copied().collect();
    holds(there == due, "an order has one notification of each kind due", || {
        format!("{there:?}, due {due:?}")
    })?;
    for ((kind, _), mail) in mails.into_iter().flatten() {
        let open = matches!(mail.status, MailStatus::Waiting | MailStatus::Queued);
        holds(!open, "no notification stays open", || format!("{mail:?}"))?;
        let of_kind = world.outside.mails.iter().filter(|(_, id, what)| (*id, what) == (order.id, kind));
        let ids: BTreeSet<_> = of_kind.map(|(id, ..)| *id).collect();
        let written: BTreeSet<_> = mails.into_iter().flatten().map(|(_, mail)| mail.id).collect();
        let sent = mail.status != MailStatus::Sent || ids.contains(&mail.id);
        holds(sent && ids.is_subset(&written), "an order gets one mail of each kind", || {
            format!("{ids:?} for {mail:?}")
        })?;
    }
    Ok(())
}

/// Nothing is held for an order that is not there.
fn nobody_else_has_anything(world: &World) -> Checked<()> {
    let tables = &world.tables;
    let known = |order_id: &&OrderId| !tables.orders.rows.contains_key(order_id);
    let stray = tables.inventory.reservations.keys().find(known);
    let stray = stray.or_else(|| tables.payments.rows.keys().find(known));
    holds(stray.is_none(), "nothing is done for an order that is not there", || format!("{stray:?}"))
}

fn prices_are_the_products(world: &World) -> Checked<()> {
    for (sku, product) in &world.tables.inventory.products {
        let price = world.tables.orders.prices.get(sku);
        let newest = product.is_listed.then_some(&product.price);
        holds(price == newest, "the newest price is the price", || format!("{product:?}, {price:?}"))?;
    }
    Ok(())
}

fn analytics_is_a_recount(world: &World) -> Checked<()> {
    let counts = &world.analytics.counts;
    let mut orders: BTreeMap<Counted, i64> = BTreeMap::new();
    for order in world.tables.orders.rows.values() {
        let status = match order.reason {
            Some(reason) => Counted::Cancelled(reason),
            None => Counted::Completed,
        };
        *orders.entry(status).or_default() += 1;
    }
    let mut counted = counts.orders.clone();
    counted.retain(|_, count| *count != 0);
    holds(counted == orders, "analytics counts what is there", || {
        format!("{counted:?}, recounted {orders:?}")
    })?;

    let sum = |account: Account| -> i64 {
        let of_order =
            |id: &OrderId| accounts(world, *id).get(account.into_str()).copied().unwrap_or_default();
        world.tables.orders.rows.keys().map(of_order).sum()
    };
    let revenue = (sum(Account::CapturedFunds), -sum(Account::Refunds));
    let told =
        counts.revenue.values().map(|it| (it.captured_minor, it.refunded_minor)).next().unwrap_or_default();
    holds(told == revenue, "analytics counts the money of the ledger", || format!("{told:?}, {revenue:?}"))?;

    let published: BTreeSet<_> = world.broker.log().iter().map(|message| message.id).collect();
    let counted = usize::try_from(counts.events).expect("a count");
    holds(counted == published.len(), "analytics counts each event once", || {
        format!("{counted}, published {}", published.len())
    })?;

    let mails = |status| {
        let all = world.tables.mails.rows.values().flat_map(|it| it.notifications.values());
        i64::try_from(all.filter(|mail| mail.status == status).count()).expect("a few")
    };
    let mails = (mails(MailStatus::Sent), mails(MailStatus::Failed));
    let told = (counts.mails_sent, counts.mails_failed);
    holds(told == mails, "analytics counts the mails", || format!("{told:?}, recounted {mails:?}"))
}

fn holds(is_true: bool, invariant: &'static str, found: impl FnOnce() -> String) -> Checked<()> {
    if is_true { Ok(()) } else { Err(Violation::new(invariant, found())) }
}
