//! Every rule, why it matters and how it is checked.

use system::Service::{self, Analytics, Inventory, Notification, Order, Payment};

use super::Found;
use super::cross_service;
use super::snapshot::Snapshot;

#[derive(Debug)]
pub struct Rule {
    /// Its name, for people and for tests.
    pub name: &'static str,
    pub why: &'static str,
    pub check: Check,
}

#[derive(Debug)]
pub enum Check {
    /// In each of these databases alone, at any time.
    Alone {
        services: &'static [Service],
        /// What is looked at, and the query that counts it.
        counts: &'static [(&'static str, &'static str)],
        /// The query that gives the violations: `about`, `fault`.
        faults: &'static str,
    },
    Always(fn(&Snapshot) -> Found),
    /// Across databases, once nothing is under way.
    AtRest(fn(&Snapshot) -> Found),
}

pub const RULES: &[Rule] = &[
    Rule {
        name: "stock stays in its bounds",
        why: "more reserved than on hand is an oversell",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[("SKUs", "select count(*) from stock")],
            faults: include_str!("rules/stock_stays_in_its_bounds.sql"),
        },
    },
    Rule {
        name: "stock matches its ledger",
        why: "a level that no movement explains was made up or lost",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[
                ("SKUs", "select count(*) from stock"),
                ("movements", "select count(*) from stock_movements"),
            ],
            faults: include_str!("rules/stock_matches_its_ledger.sql"),
        },
    },
    Rule {
        name: "reserved stock is held by orders",
        why: "stock that is reserved for nobody can never be sold",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[("open reservations", "select count(*) from reservations where status = 'reserved'")],
            faults: include_str!("rules/reserved_stock_is_held_by_orders.sql"),
        },
    },
    Rule {
        name: "a reservation matches its movements",
        why: "what is reserved for an order is shipped or released as a whole, and once",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[("reservations", "select count(*) from reservations")],
            faults: include_str!("rules/a_reservation_matches_its_movements.sql"),
        },
    },
    Rule {
        name: "money balances",
        why: "double entry: whatever one account gains another loses",
        check: Check::Alone {
            services: &[Payment],
            counts: &[("entries", "select count(*) from ledger_entries")],
            faults: include_str!("rules/money_balances.sql"),
        },
    },
    Rule {
        name: "money moves once",
        why: "a second hold, capture or refund of an order moves money wrongly",
        check: Check::Alone {
            services: &[Payment],
            counts: &[("entries", "select count(*) from ledger_entries")],
            faults: include_str!("rules/money_moves_once.sql"),
        },
    },
    Rule {
        name: "a payment matches its postings",
        why: "a status without its postings claims that money moved when it did not, or the reverse",
        check: Check::Alone {
            services: &[Payment],
            counts: &[("payments", "select count(*) from payments")],
            faults: include_str!("rules/a_payment_matches_its_postings.sql"),
        },
    },
    Rule {
        name: "no order waits past its deadline",
        why: "an order that never ends keeps its stock and money for ever",
        check: Check::Alone {
            services: &[Order],
            counts: &[("pending orders", "select count(*) from orders where status = 'pending'")],
            faults: include_str!("rules/no_order_waits_past_its_deadline.sql"),
        },
    },
    Rule {
        name: "an order matches its event log",
        why: "the row is a projection of the log: anything else in it has no cause",
        check: Check::Alone {
            services: &[Order],
            counts: &[
                ("orders", "select count(*) from orders"),
                ("facts", "select count(*) from order_events"),
            ],
            faults: include_str!("rules/an_order_matches_its_event_log.sql"),
        },
    },
    Rule {
        name: "ended orders stay ended",
        why: "completed and cancelled are final: others have acted on them",
        check: Check::Alone {
            services: &[Order],
            counts: &[("orders", "select count(*) from orders")],
            faults: include_str!("rules/ended_orders_stay_ended.sql"),
        },
    },
    Rule {
        name: "a key creates one order",
        why: "a client that repeats its request must not buy twice",
        check: Check::Alone {
            services: &[Order],
            counts: &[("keys", "select count(*) from http_api.idempotency_keys")],
            faults: include_str!("rules/a_key_creates_one_order.sql"),
        },
    },
    Rule {
        name: "consumed events are in the inbox",
        why: "an effect without its inbox row would be repeated by a redelivery",
        check: Check::Alone {
            services: &[Order],
            counts: &[("events consumed", "select count(*) from order_events where direction = 'consumed'")],
            faults: include_str!("rules/consumed_events_are_in_the_inbox.sql"),
        },
    },
    Rule {
        name: "events leave the outbox",
        why: "an event that stays is published to nobody",
        check: Check::Alone {
            services: Service::ALL,
            counts: &[("waiting", "select count(*) from messaging.outbox")],
            faults: include_str!("rules/events_leave_the_outbox.sql"),
        },
    },
    Rule {
        name: "one mail per order and kind",
        why: "a customer gets each mail once",
        check: Check::Alone {
            services: &[Notification],
            counts: &[("notifications", "select count(*) from notifications")],
            faults: include_str!("rules/one_mail_per_order_and_kind.sql"),
        },
    },
    Rule {
        name: "the summary matches its facts",
        why: "counts that are kept by deltas stay wrong for ever",
        check: Check::Alone {
            services: &[Analytics],
            counts: &[("orders", "select count(*) from orders")],
            faults: include_str!("rules/the_summary_matches_its_facts.sql"),
        },
    },
    Rule {
        name: "cancelled orders settle",
        why: "the stock and money of a cancelled order must be free again",
        check: Check::Always(cross_service::cancelled_orders_settle),
    },
    Rule {
        name: "only expected dead letters",
        why: "a dead letter is an event that a service has not handled",
        check: Check::Always(cross_service::only_expected_dead_letters),
    },
    Rule {
        name: "every accepted order exists",
        why: "202 is a promise",
        check: Check::Always(cross_service::every_accepted_order_exists),
    },
    Rule {
        name: "the processor charged once",
        why: "a repeated call must not charge again",
        check: Check::Always(cross_service::the_processor_charged_once),
    },
    Rule {
        name: "each order has its stock",
        why: "what was sold left the stock, and what was not is back in it",
        check: Check::AtRest(cross_service::each_order_has_its_stock),
    },
    Rule {
        name: "stock sold was ordered",
        why: "stock leaves for completed orders, and for nothing else",
        check: Check::AtRest(cross_service::stock_sold_was_ordered),
    },
    Rule {
        name: "each order has its money",
        why: "what was completed was paid in full, and what was cancelled was not",
        check: Check::AtRest(cross_service::each_order_has_its_money),
    },
    Rule {
        name: "no capture without an order",
        why: "money that is captured for no order, and not refunded, is stolen",
        check: Check::AtRest(cross_service::no_capture_without_an_order),
    },
    Rule {
        name: "the ledger matches the processor",
        why: "the processor decides where the money is",
        check: Check::AtRest(cross_service::the_ledger_matches_the_processor),
    },
    Rule {
        name: "each order has its mails",
        why: "a customer is informed of each outcome, and of no other",
        check: Check::AtRest(cross_service::each_order_has_its_mails),
    },
    Rule {
        name: "the summary matches a recount",
        why: "each event counts exactly once, whatever was killed meanwhile",
        check: Check::AtRest(cross_service::the_summary_matches_a_recount),
    },
];
