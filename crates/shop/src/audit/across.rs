//! The rules across databases.

use std::collections::{BTreeMap, BTreeSet};

use super::Offender;
use super::books::{Books, OrderRow, PaymentRow};
use super::rules::Found;

/// How long a cancelled order may take to settle, in seconds.
const SETTLED_WITHIN: f64 = 60.0;

fn offender(about: &(impl ToString + ?Sized), fault: impl Into<String>) -> Offender {
    Offender { about: about.to_string(), fault: fault.into() }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Both sides of a comparison, key by key; what is on one side only is compared with nothing.
fn differences<'a, K: Ord + ToString, L, R>(
    left: &'a BTreeMap<K, L>,
    right: &'a BTreeMap<K, R>,
    fault: impl Fn(Option<&L>, Option<&R>) -> Option<String>,
) -> Vec<Offender> {
    let keys: BTreeSet<&K> = left.keys().chain(right.keys()).collect();
    let judged = keys.into_iter().map(|key| (key, fault(left.get(key), right.get(key))));
    judged.filter_map(|(key, fault)| Some(offender(key, fault?))).collect()
}

pub(super) fn cancelled_orders_settle(books: &Books) -> Found {
    let cancelled = || books.orders.iter().filter(|(_, order)| order.status == "cancelled");
    let waits = |id| books.payments.get(id).is_some_and(|payment| payment.calling);
    let late = cancelled().filter(|(id, order)| !order.settled && !waits(*id));
    let offenders = late.filter_map(|(id, order)| {
        let seconds = order.cancelled_for.filter(|seconds| *seconds > SETTLED_WITHIN)?;
        Some(offender(id, format!("cancelled {seconds:.0} s ago, and not settled")))
    });
    Found { counted: vec![(count(cancelled().count()), "cancelled orders")], offenders: offenders.collect() }
}

pub(super) fn no_dead_letters_but_the_expected(books: &Books) -> Found {
    let letters: usize = books.dead_letters.values().map(BTreeSet::len).sum();
    let mut offenders = Vec::new();
    if letters != books.expected_dead_letters {
        let places = books.dead_letters.iter().filter(|(_, ids)| !ids.is_empty());
        offenders.extend(places.map(|(place, ids)| {
            let expected = books.expected_dead_letters;
            let first = ids.first().map_or("", String::as_str);
            offender(place, format!("{} dead letters, {expected} expected in all; one is {first}", ids.len()))
        }));
        if offenders.is_empty() {
            offenders
                .push(offender("dead letters", format!("none, {} expected", books.expected_dead_letters)));
        }
    }
    Found { counted: vec![(count(letters), "dead letters")], offenders }
}

pub(super) fn every_order_that_was_taken_is_there(books: &Books) -> Found {
    let mut orders_of_a_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut offenders = Vec::new();
    for recorded in &books.recorded {
        orders_of_a_key.entry(&recorded.key).or_default().insert(&recorded.order_id);
        let there = recorded.order_id.parse().is_ok_and(|id| books.orders.contains_key(&id));
        if !there {
            offenders.push(offender(&recorded.order_id, "was answered 202, and is not there"));
        }
    }
    for (key, orders) in orders_of_a_key.iter().filter(|(_, orders)| orders.len() > 1) {
        offenders.push(offender(key, format!("the key was answered with {} orders", orders.len())));
    }
    Found { counted: vec![(count(books.recorded.len()), "recorded answers")], offenders }
}

pub(super) fn the_processor_charged_once(books: &Books) -> Found {
    let twice = books.charges.iter().filter(|(_, charge)| {
        charge.authorizations > 1 || charge.captures > 1 || charge.refunds > charge.captures
    });
    let offenders = twice.map(|(order, charge)| {
        let (holds, captures, refunds) = (charge.authorizations, charge.captures, charge.refunds);
        offender(order, format!("held {holds} times, taken {captures} times, given back {refunds} times"))
    });
    Found { counted: vec![(count(books.charges.len()), "orders")], offenders: offenders.collect() }
}

/// What an ended order must have of something that has a status, by how the order ended.
fn ended<T>(
    books: &Books,
    there: &BTreeMap<sqlx::types::Uuid, T>,
    status: impl Fn(&T) -> &str,
    of_completed: &[&str],
    of_cancelled: &[&str],
) -> Vec<Offender> {
    differences(&books.orders, there, |order, it| {
        let (ended, has) = (order.map(|order| order.status.as_str()), it.map(&status));
        let allowed = match ended {
            Some("completed") => of_completed,
            Some("cancelled") => of_cancelled,
            _ => &[],
        };
        let fits = has.is_some_and(|has| allowed.contains(&has));
        let (ended, has) = (ended.unwrap_or("no order"), has.unwrap_or("nothing"));
        (!fits).then(|| format!("{ended}, and {has} for it"))
    })
}

pub(super) fn each_order_has_its_stock(books: &Books) -> Found {
    let offenders =
        ended(books, &books.reservations, String::as_str, &["committed"], &["rejected", "released"]);
    let counted =
        vec![(count(books.orders.len()), "orders"), (count(books.reservations.len()), "reservations")];
    Found { counted, offenders }
}

pub(super) fn sold_is_what_was_ordered(books: &Books) -> Found {
    let mut ordered: BTreeMap<String, i64> = BTreeMap::new();
    for order in books.orders.values().filter(|order| order.status == "completed") {
        for line in &order.lines.0 {
            *ordered.entry(line.sku.to_string()).or_default() += i64::from(line.quantity);
        }
    }
    let offenders = differences(&ordered, &books.sold, |ordered, sold| {
        let (ordered, sold) = (ordered.copied().unwrap_or_default(), sold.copied().unwrap_or_default());
        (ordered != sold).then(|| format!("{sold} left the shelf, {ordered} are in completed orders"))
    });
    let items = ordered.values().sum::<i64>().try_into().unwrap_or_default();
    Found { counted: vec![(items, "items"), (count(ordered.len()), "SKUs")], offenders }
}

pub(super) fn each_order_has_its_money(books: &Books) -> Found {
    let status = |payment: &PaymentRow| payment.status.clone();
    let statuses = books.payments.iter().map(|(id, payment)| (*id, status(payment))).collect();
    let mut offenders =
        ended(books, &statuses, String::as_str, &["captured"], &["declined", "voided", "refunded"]);
    for (id, payment) in &books.payments {
        let (Some(order), Some(amount)) = (books.orders.get(id), payment.amount_minor) else { continue };
        let asked = (amount, payment.currency.as_deref());
        if asked != (order.total_minor, Some(&order.currency)) {
            let (total, currency) = (order.total_minor, &order.currency);
            offenders.push(offender(id, format!("its total is {total} {currency}, its payment {asked:?}")));
        }
    }
    let counted = vec![(count(books.orders.len()), "orders"), (count(books.payments.len()), "payments")];
    Found { counted, offenders }
}

pub(super) fn no_capture_without_its_order(books: &Books) -> Found {
    let captures = || books.payments.iter().filter(|(_, payment)| payment.captured > 0);
    let sold = |order: &OrderRow| matches!(order.status.as_str(), "confirmed" | "completed");
    let offenders = captures().filter_map(|(id, payment)| {
        let kept = payment.captured - payment.refunded;
        let due = if books.orders.get(id).is_some_and(sold) { payment.captured } else { 0 };
        let (taken, back) = (payment.captured, payment.refunded);
        (kept != due)
            .then(|| offender(id, format!("{taken} were taken and {back} given back, {due} are due")))
    });
    Found { counted: vec![(count(captures().count()), "captures")], offenders: offenders.collect() }
}

pub(super) fn the_ledger_is_the_processors(books: &Books) -> Found {
    let posted = books.payments.iter().filter(|(_, payment)| payment.posted);
    let ledger: BTreeMap<String, (i64, i64, i64)> = posted
        .map(|(id, payment)| (id.to_string(), (payment.held, payment.captured, payment.refunded)))
        .collect();
    let offenders = differences(&ledger, &books.charges, |ours, theirs| {
        let theirs = theirs.map(|charge| (charge.held_minor, charge.captured_minor, charge.refunded_minor));
        let words = |money: Option<&(i64, i64, i64)>| match money {
            Some((held, taken, back)) => format!("{held} held, {taken} taken, {back} given back"),
            None => "nothing".to_owned(),
        };
        (ours != theirs.as_ref())
            .then(|| format!("ledger: {}; processor: {}", words(ours), words(theirs.as_ref())))
    });
    let counted = vec![(count(ledger.len()), "orders"), (count(books.charges.len()), "charges")];
    Found { counted, offenders }
}

pub(super) fn each_order_has_its_mails(books: &Books) -> Found {
    let kinds = [
        ("order.confirmed", "confirmed"),
        ("order.cancelled", "cancelled"),
        ("payment.refunded", "refunded"),
    ];
    let mut offenders = Vec::new();
    let mut due = BTreeSet::new();
    for (id, order) in &books.orders {
        for (fact, kind) in kinds {
            if order.facts.iter().any(|known| known == fact) {
                due.insert((*id, kind.to_owned()));
            }
        }
    }
    for (id, kind) in &due {
        match books.mails.get(&(*id, kind.clone())).map(String::as_str) {
            Some("sent" | "failed" | "dropped") => {}
            Some(status) => offenders.push(offender(id, format!("the mail {kind} is {status}"))),
            None => offenders.push(offender(id, format!("there is no mail {kind}"))),
        }
    }
    for (id, kind) in books.mails.keys().filter(|mail| !due.contains(mail)) {
        offenders.push(offender(id, format!("a mail {kind}, and no reason for it")));
    }
    Found { counted: vec![(count(books.mails.len()), "notifications")], offenders }
}

pub(super) fn the_summary_is_a_recount(books: &Books) -> Found {
    let mut recount: BTreeMap<String, i64> = BTreeMap::new();
    let mut add = |name: String, by: i64| *recount.entry(name).or_default() += by;
    for order in books.orders.values() {
        let reason = order.reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default();
        add(format!("orders {}{reason}", order.status), 1);
    }
    for payment in books.payments.values() {
        let currency = payment.currency.as_deref().unwrap_or_default();
        add(format!("captured {currency}"), payment.captured);
        add(format!("refunded {currency}"), payment.refunded);
    }
    for status in books.mails.values() {
        add(format!("mails {status}"), i64::from(matches!(status.as_str(), "sent" | "failed")));
    }
    recount.retain(|_, count| *count != 0);
    let offenders = differences(&recount, &books.summary, |there, counted| {
        let (there, counted) = (there.copied().unwrap_or_default(), counted.copied().unwrap_or_default());
        (there != counted).then(|| format!("analytics counts {counted}, the sources {there}"))
    });
    Found {
        counted: vec![(count(books.orders.len()), "orders"), (count(recount.len()), "counts")],
        offenders,
    }
}
