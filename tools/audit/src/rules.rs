//! Every rule, why it matters and how it is checked.

use serde::Serialize;
use system::Service::{self, Analytics, Inventory, Notification, Order, Payment};

use super::Found;
use super::cross_service;
use super::snapshot::Snapshot;

#[derive(Debug, Serialize)]
pub struct Rule {
    /// Its name, for people and for tests.
    pub name: &'static str,
    pub why: &'static str,
    #[serde(skip)]
    pub check: Check,
}

#[derive(Debug)]
pub enum Check {
    /// In one database at a time, at any time.
    Alone(Queries),
    Always(fn(&Snapshot) -> Found),
    /// Across databases, once nothing is under way.
    AtRest(fn(&Snapshot) -> Found),
}

/// What is asked in each of these databases.
#[derive(Debug)]
pub struct Queries {
    pub services: &'static [Service],
    /// What is looked at, and the table that it is in, with a condition if need be.
    pub counts: &'static [(&'static str, &'static str)],
    /// The query that gives the violations: `about`, `fault`.
    pub faults: &'static str,
}

const fn alone(
    name: &'static str,
    why: &'static str,
    services: &'static [Service],
    counts: &'static [(&'static str, &'static str)],
    faults: &'static str,
) -> Rule {
    Rule { name, why, check: Check::Alone(Queries { services, counts, faults }) }
}

const fn always(name: &'static str, why: &'static str, check: fn(&Snapshot) -> Found) -> Rule {
    Rule { name, why, check: Check::Always(check) }
}

const fn at_rest(name: &'static str, why: &'static str, check: fn(&Snapshot) -> Found) -> Rule {
    Rule { name, why, check: Check::AtRest(check) }
}

pub const RULES: &[Rule] = &[
    alone(
        "stock stays in its bounds",
        "more reserved than on hand is an oversell",
        &[Inventory],
        &[("SKUs", "stock")],
        include_str!("rules/stock_stays_in_its_bounds.sql"),
    ),
    alone(
        "stock matches its ledger",
        "a level that no movement explains was made up or lost",
        &[Inventory],
        &[("SKUs", "stock"), ("movements", "stock_movements")],
        include_str!("rules/stock_matches_its_ledger.sql"),
    ),
    alone(
        "reserved stock is held by orders",
        "stock that is reserved for nobody can never be sold",
        &[Inventory],
        &[("open reservations", "reservations where status = 'reserved'")],
        include_str!("rules/reserved_stock_is_held_by_orders.sql"),
    ),
    alone(
        "a reservation matches its movements",
        "what is reserved for an order is shipped or released as a whole, and once",
        &[Inventory],
        &[("reservations", "reservations")],
        include_str!("rules/a_reservation_matches_its_movements.sql"),
    ),
    alone(
        "money balances",
        "double entry: whatever one account gains another loses",
        &[Payment],
        &[("entries", "ledger_entries")],
        include_str!("rules/money_balances.sql"),
    ),
    alone(
        "money moves once",
        "a second hold, capture or refund of an order moves money wrongly",
        &[Payment],
        &[("entries", "ledger_entries")],
        include_str!("rules/money_moves_once.sql"),
    ),
    alone(
        "a payment matches its postings",
        "a status without its postings claims that money moved when it did not, or the reverse",
        &[Payment],
        &[("payments", "payments")],
        include_str!("rules/a_payment_matches_its_postings.sql"),
    ),
    alone(
        "no order waits past its deadline",
        "an order that never ends keeps its stock and money for ever",
        &[Order],
        &[("open orders", "orders where status in ('pending', 'confirmed')")],
        include_str!("rules/no_order_waits_past_its_deadline.sql"),
    ),
    alone(
        "confirmed orders end",
        "its customer is told that it is confirmed: what nobody pays for must not stay so",
        &[Order],
        &[("confirmed orders", "orders where status = 'confirmed'")],
        include_str!("rules/confirmed_orders_end.sql"),
    ),
    alone(
        "jobs end",
        "a call that nothing settles leaves money or news where it does not belong",
        Service::ALL,
        &[("jobs", "messaging.jobs")],
        include_str!("rules/jobs_end.sql"),
    ),
    alone(
        "an order matches its event log",
        "the row is a projection of the log: anything else in it has no cause",
        &[Order],
        &[("orders", "orders"), ("facts", "order_events")],
        include_str!("rules/an_order_matches_its_event_log.sql"),
    ),
    alone(
        "ended orders stay ended",
        "completed and cancelled are final: others have acted on them",
        &[Order],
        &[("orders", "orders")],
        include_str!("rules/ended_orders_stay_ended.sql"),
    ),
    alone(
        "a key creates one order",
        "a client that repeats its request must not buy twice",
        &[Order],
        &[("keys", "http_api.idempotency_keys")],
        include_str!("rules/a_key_creates_one_order.sql"),
    ),
    alone(
        "consumed events are in the inbox",
        "an effect without its inbox row would be repeated by a redelivery",
        &[Order],
        &[("events consumed", "order_events where direction = 'consumed'")],
        include_str!("rules/consumed_events_are_in_the_inbox.sql"),
    ),
    alone(
        "events leave the outbox",
        "an event that stays is published to nobody",
        Service::ALL,
        &[("waiting", "messaging.outbox")],
        include_str!("rules/events_leave_the_outbox.sql"),
    ),
    alone(
        "one mail per order and kind",
        "a customer gets each mail once",
        &[Notification],
        &[("notifications", "notifications")],
        include_str!("rules/one_mail_per_order_and_kind.sql"),
    ),
    alone(
        "the summary matches its facts",
        "counts that are kept by deltas stay wrong for ever",
        &[Analytics],
        &[("orders", "orders")],
        include_str!("rules/the_summary_matches_its_facts.sql"),
    ),
    always(
        "cancelled orders settle",
        "the stock and money of a cancelled order must be free again",
        cross_service::cancelled_orders_settle,
    ),
    always(
        "only expected dead letters",
        "a dead letter is an event that a service has not handled",
        cross_service::only_expected_dead_letters,
    ),
    always("every accepted order exists", "202 is a promise", cross_service::every_accepted_order_exists),
    always(
        "the processor charged once",
        "a repeated call must not charge again",
        cross_service::the_processor_charged_once,
    ),
    at_rest(
        "each order has its stock",
        "what was sold left the stock, and what was not is back in it",
        cross_service::each_order_has_its_stock,
    ),
    at_rest(
        "stock sold was ordered",
        "stock leaves for completed orders, and for nothing else",
        cross_service::stock_sold_was_ordered,
    ),
    at_rest(
        "each order has its money",
        "what was completed was paid in full, and what was cancelled was not",
        cross_service::each_order_has_its_money,
    ),
    at_rest(
        "no capture without an order",
        "money that is captured for no order, and not refunded, is stolen",
        cross_service::no_capture_without_an_order,
    ),
    at_rest(
        "the ledger matches the processor",
        "the processor decides where the money is",
        cross_service::the_ledger_matches_the_processor,
    ),
    at_rest(
        "each order has its mails",
        "a customer is informed of each outcome, and of no other",
        cross_service::each_order_has_its_mails,
    ),
    at_rest(
        "the summary matches a recount",
        "each event counts exactly once, whatever was killed meanwhile",
        cross_service::the_summary_matches_a_recount,
    ),
];
