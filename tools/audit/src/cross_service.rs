//! The rules across databases.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::{OrderRow, Snapshot};
use super::{Found, Violation};

/// How long a cancelled order may take to settle, in seconds.
const SETTLED_WITHIN: f64 = 60.0;

fn violation(about: &(impl ToString + ?Sized), fault: impl Into<String>) -> Violation {
    Violation { about: about.to_string(), fault: fault.into() }
}

/// Both sides of a comparison, key by key; what is on one side only is compared with nothing.
fn differences<'a, K: Ord + ToString, L, R>(
    left: &'a BTreeMap<K, L>,
    right: &'a BTreeMap<K, R>,
    fault: impl Fn(Option<&L>, Option<&R>) -> Option<String>,
) -> Vec<Violation> {
    let keys: BTreeSet<&K> = left.keys().chain(right.keys()).collect();
    let judged = keys.into_iter().map(|key| (key, fault(left.get(key), right.get(key))));
    judged.filter_map(|(key, fault)| Some(violation(key, fault?))).collect()
}

pub(super) fn cancelled_orders_settle(snapshot: &Snapshot) -> Found {
    let cancelled = || snapshot.orders.iter().filter(|(_, order)| order.status == "cancelled");
    let waits = |id| snapshot.payments.get(id).is_some_and(|payment| payment.calling);
    let late = cancelled().filter(|(id, order)| !order.settled && !waits(*id));
    let violations = late.filter_map(|(id, order)| {
        let seconds = order.cancelled_for.filter(|seconds| *seconds > SETTLED_WITHIN)?;
        Some(violation(id, format!("cancelled {seconds:.0} s ago, and not settled")))
    });
    Found::of([(cancelled().count(), "cancelled orders")], violations)
}

pub(super) fn only_expected_dead_letters(snapshot: &Snapshot) -> Found {
    let (places, expected) = (&snapshot.dead_letters, snapshot.expected_dead_letters);
    let found: usize = places.values().map(BTreeSet::len).sum();
    let mut violations = Vec::new();
    if found == 0 && expected > 0 {
        violations.push(violation("dead letters", format!("none, {expected} expected")));
    } else if found != expected {
        violations.extend(places.iter().filter_map(|(place, ids)| {
            let (count, first) = (ids.len(), ids.first()?);
            let fault = format!("{count} dead letters, {expected} expected in all; one is {first}");
            Some(violation(place, fault))
        }));
    }
    Found::of([(found, "dead letters")], violations)
}

pub(super) fn every_accepted_order_exists(snapshot: &Snapshot) -> Found {
    let mut orders_of_a_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut violations = Vec::new();
    for recorded in &snapshot.recorded {
        orders_of_a_key.entry(&recorded.key).or_default().insert(&recorded.order_id);
        let there = recorded.order_id.parse().is_ok_and(|id| snapshot.orders.contains_key(&id));
        if !there {
            violations.push(violation(&recorded.order_id, "was answered 202, and does not exist"));
        }
    }
    for (key, orders) in orders_of_a_key.iter().filter(|(_, orders)| orders.len() > 1) {
        violations.push(violation(key, format!("the key was answered with {} orders", orders.len())));
    }
    Found::of([(snapshot.recorded.len(), "recorded answers")], violations)
}

pub(super) fn the_processor_charged_once(snapshot: &Snapshot) -> Found {
    let twice = snapshot.charges.iter().filter(|(_, charge)| {
        charge.authorizations > 1 || charge.captures > 1 || charge.refunded_minor > charge.captured_minor
    });
    let violations = twice.map(|(order, charge)| {
        let (holds, captures) = (charge.authorizations, charge.captures);
        let (taken, back) = (charge.captured_minor, charge.refunded_minor);
        violation(
            order,
            format!("held {holds} times, captured {captures} times: {taken} captured, {back} refunded"),
        )
    });
    Found::of([(snapshot.charges.len(), "orders")], violations)
}

/// What an ended order must have of something that has a status, by how the order ended.
fn ended<T>(
    snapshot: &Snapshot,
    there: &BTreeMap<sqlx::types::Uuid, T>,
    status: impl Fn(&T) -> &str,
    of_completed: &[&str],
    of_cancelled: &[&str],
) -> Vec<Violation> {
    differences(&snapshot.orders, there, |order, it| {
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

pub(super) fn each_order_has_its_stock(snapshot: &Snapshot) -> Found {
    let violations =
        ended(snapshot, &snapshot.reservations, String::as_str, &["committed"], &["rejected", "released"]);
    let (orders, reservations) = (snapshot.orders.len(), snapshot.reservations.len());
    Found::of([(orders, "orders"), (reservations, "reservations")], violations)
}

pub(super) fn stock_sold_was_ordered(snapshot: &Snapshot) -> Found {
    let mut ordered: BTreeMap<String, i64> = BTreeMap::new();
    for order in snapshot.orders.values().filter(|order| order.status == "completed") {
        for line in &order.lines.0 {
            *ordered.entry(line.sku.to_string()).or_default() += i64::from(line.quantity);
        }
    }
    let violations = differences(&ordered, &snapshot.sold, |ordered, sold| {
        let (ordered, sold) = (ordered.copied().unwrap_or_default(), sold.copied().unwrap_or_default());
        (ordered != sold).then(|| format!("{sold} left the shelf, {ordered} are in completed orders"))
    });
    let items = ordered.values().sum::<i64>().try_into().unwrap_or_default();
    Found::of([(items, "items"), (ordered.len(), "SKUs")], violations)
}

pub(super) fn each_order_has_its_money(snapshot: &Snapshot) -> Found {
    let of_cancelled = &["declined", "voided", "refunded"];
    let mut violations =
        ended(snapshot, &snapshot.payments, |payment| &payment.status, &["captured"], of_cancelled);
    for (id, payment) in &snapshot.payments {
        let (Some(order), Some(amount)) = (snapshot.orders.get(id), payment.amount_minor) else { continue };
        let asked = (amount, payment.currency.as_deref());
        if asked != (order.total_minor, Some(&order.currency)) {
            let (total, currency) = (order.total_minor, &order.currency);
            violations.push(violation(id, format!("its total is {total} {currency}, its payment {asked:?}")));
        }
    }
    Found::of([(snapshot.orders.len(), "orders"), (snapshot.payments.len(), "payments")], violations)
}

pub(super) fn no_capture_without_an_order(snapshot: &Snapshot) -> Found {
    let captures = || snapshot.payments.iter().filter(|(_, payment)| payment.captured > 0);
    let sold = |order: &OrderRow| matches!(order.status.as_str(), "confirmed" | "completed");
    let violations = captures().filter_map(|(id, payment)| {
        let kept = payment.captured - payment.refunded;
        let due = if snapshot.orders.get(id).is_some_and(sold) { payment.captured } else { 0 };
        let (taken, back) = (payment.captured, payment.refunded);
        (kept != due).then(|| violation(id, format!("{taken} captured and {back} refunded, {due} due")))
    });
    Found::of([(captures().count(), "captures")], violations)
}

pub(super) fn the_ledger_matches_the_processor(snapshot: &Snapshot) -> Found {
    let posted = snapshot.payments.iter().filter(|(_, payment)| payment.posted);
    let ledger: BTreeMap<String, (i64, i64, i64)> = posted
        .map(|(id, payment)| {
            let currency = payment.currency.as_deref().unwrap_or_default();
            (format!("{id} {currency}"), (payment.held, payment.captured, payment.refunded))
        })
        .collect();
    let violations = differences(&ledger, &snapshot.charges, |ours, theirs| {
        let theirs = theirs.map(|charge| (charge.held_minor, charge.captured_minor, charge.refunded_minor));
        let words = |money: Option<&(i64, i64, i64)>| match money {
            Some((held, taken, back)) => format!("{held} held, {taken} captured, {back} refunded"),
            None => "nothing".to_owned(),
        };
        (ours != theirs.as_ref())
            .then(|| format!("ledger: {}; processor: {}", words(ours), words(theirs.as_ref())))
    });
    Found::of([(ledger.len(), "orders"), (snapshot.charges.len(), "charges")], violations)
}

pub(super) fn each_order_has_its_mails(snapshot: &Snapshot) -> Found {
    let kinds = [
        ("order.confirmed", "confirmed"),
        ("order.cancelled", "cancelled"),
        ("payment.refunded", "refunded"),
    ];
    let mut violations = Vec::new();
    let mut due = BTreeMap::<_, usize>::new();
    for (id, order) in &snapshot.orders {
        for (fact, kind) in kinds {
            let facts = order.facts.iter().filter(|known| *known == fact).count();
            if facts > 0 {
                due.insert((*id, kind.to_owned()), facts);
            }
        }
    }
    for (mail @ (id, kind), due) in &due {
        let there = snapshot.mails.get(mail).map_or(&[][..], Vec::as_slice);
        if there.len() < *due {
            violations.push(violation(id, format!("{} mails {kind}, and {due} due", there.len())));
        }
        let open = there.iter().filter(|status| !matches!(status.as_str(), "sent" | "failed" | "dropped"));
        violations.extend(open.map(|status| violation(id, format!("the mail {kind} is {status}"))));
    }
    for (mail @ (id, kind), there) in &snapshot.mails {
        let without_reason = there.len().saturating_sub(due.get(mail).copied().unwrap_or_default());
        if without_reason > 0 {
            violations.push(violation(id, format!("{without_reason} mails {kind}, and no reason for them")));
        }
    }
    Found::of([(snapshot.mails.values().map(Vec::len).sum(), "notifications")], violations)
}

pub(super) fn the_summary_matches_a_recount(snapshot: &Snapshot) -> Found {
    let mut recount: BTreeMap<String, i64> = BTreeMap::new();
    let mut add = |name: String, by: i64| *recount.entry(name).or_default() += by;
    for order in snapshot.orders.values() {
        let reason = order.reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default();
        add(format!("orders {}{reason}", order.status), 1);
    }
    for payment in snapshot.payments.values() {
        let currency = payment.currency.as_deref().unwrap_or_default();
        add(format!("captured {currency}"), payment.captured);
        add(format!("refunded {currency}"), payment.refunded);
    }
    for status in snapshot.mails.values().flatten() {
        add(format!("mails {status}"), i64::from(matches!(status.as_str(), "sent" | "failed")));
    }
    recount.retain(|_, count| *count != 0);
    let violations = differences(&recount, &snapshot.summary, |there, counted| {
        let (there, counted) = (there.copied().unwrap_or_default(), counted.copied().unwrap_or_default());
        (there != counted).then(|| format!("analytics counts {counted}, the sources {there}"))
    });
    Found::of([(snapshot.orders.len(), "orders"), (recount.len(), "counts")], violations)
}
