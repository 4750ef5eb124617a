//! Every rule, with why it matters and how it is asked.

use system::Service::{self, Analytics, Inventory, Notification, Order, Payment};

use super::Violation;
use super::cross_service;
use super::snapshot::Snapshot;

/// Something that must be true.
#[derive(Debug)]
pub struct Rule {
    /// Its name, for people and for tests.
    pub name: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// How it is asked.
    pub check: Check,
}

/// How a rule is asked.
#[derive(Debug)]
pub enum Check {
    /// Of each of these databases by itself, at any time.
    Alone {
        /// Whose databases.
        services: &'static [Service],
        /// What is looked at, and the query that counts it.
        counts: &'static [(&'static str, &'static str)],
        /// The query that gives the violations: `about`, `fault`.
        faults: &'static str,
    },
    /// Of several, at any time.
    Always(fn(&Snapshot) -> Found),
    /// Of several, once nothing is under way.
    AtRest(fn(&Snapshot) -> Found),
}

/// What a check across databases found.
#[derive(Debug, Default)]
pub struct Found {
    /// What was looked at: how many of what.
    pub counted: Vec<(u64, &'static str)>,
    /// What the rule does not hold for.
    pub violations: Vec<Violation>,
}

/// The rules.
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
        name: "stock is its ledger",
        why: "a level that no movement explains was made up or lost",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[
                ("SKUs", "select count(*) from stock"),
                ("movements", "select count(*) from stock_movements"),
            ],
            faults: include_str!("rules/stock_is_its_ledger.sql"),
        },
    },
    Rule {
        name: "reserved stock is held by orders",
        why: "stock that is set aside for nobody can never be sold",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[("open reservations", "select count(*) from reservations where status = 'reserved'")],
            faults: include_str!("rules/reserved_stock_is_held_by_orders.sql"),
        },
    },
    Rule {
        name: "a reservation is its movements",
        why: "what is set aside for an order leaves or comes back whole, and once",
        check: Check::Alone {
            services: &[Inventory],
            counts: &[("reservations", "select count(*) from reservations")],
            faults: include_str!("rules/a_reservation_is_its_movements.sql"),
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
        why: "a second hold, capture or refund of an order is somebody's money",
        check: Check::Alone {
            services: &[Payment],
            counts: &[("entries", "select count(*) from ledger_entries")],
            faults: include_str!("rules/money_moves_once.sql"),
        },
    },
    Rule {
        name: "a payment is its postings",
        why: "a status that the ledger does not bear out says that money moved when it did not, or the reverse",
        check: Check::Alone {
            services: &[Payment],
            counts: &[("payments", "select count(*) from payments")],
            faults: include_str!("rules/a_payment_is_its_postings.sql"),
        },
    },
    Rule {
        name: "no order waits past its deadline",
        why: "an order that nobody ends keeps stock and money for ever",
        check: Check::Alone {
            services: &[Order],
            counts: &[("pending orders", "select count(*) from orders where status = 'pending'")],
            faults: include_str!("rules/no_order_waits_past_its_deadline.sql"),
        },
    },
    Rule {
        name: "an order is its log",
        why: "the row is a projection: whatever the log does not say has no cause",
        check: Check::Alone {
            services: &[Order],
            counts: &[
                ("orders", "select count(*) from orders"),
                ("facts", "select count(*) from order_events"),
            ],
            faults: include_str!("rules/an_order_is_its_log.sql"),
        },
    },
    Rule {
        name: "no order goes back",
        why: "completed and cancelled are final: others have acted on them",
        check: Check::Alone {
            services: &[Order],
            counts: &[("orders", "select count(*) from orders")],
            faults: include_str!("rules/no_order_goes_back.sql"),
        },
    },
    Rule {
        name: "a key gives one order",
        why: "a client that repeats its request must not buy twice",
        check: Check::Alone {
            services: &[Order],
            counts: &[("keys", "select count(*) from http_api.idempotency_keys")],
            faults: include_str!("rules/a_key_gives_one_order.sql"),
        },
    },
    Rule {
        name: "what was heard is in the inbox",
        why: "an effect without its inbox row would be made again by a redelivery",
        check: Check::Alone {
            services: &[Order],
            counts: &[("facts heard", "select count(*) from order_events where direction = 'heard'")],
            faults: include_str!("rules/what_was_heard_is_in_the_inbox.sql"),
        },
    },
    Rule {
        name: "events leave the outbox",
        why: "an event that stays was announced and is heard by nobody",
        check: Check::Alone {
            services: Service::ALL,
            counts: &[("waiting", "select count(*) from messaging.outbox")],
            faults: include_str!("rules/events_leave_the_outbox.sql"),
        },
    },
    Rule {
        name: "one mail of a kind",
        why: "a customer is told once",
        check: Check::Alone {
            services: &[Notification],
            counts: &[("notifications", "select count(*) from notifications")],
            faults: include_str!("rules/one_mail_of_a_kind.sql"),
        },
    },
    Rule {
        name: "the summary is its facts",
        why: "counts that are kept by deltas drift for ever once they are wrong",
        check: Check::Alone {
            services: &[Analytics],
            counts: &[("orders", "select count(*) from orders")],
            faults: include_str!("rules/the_summary_is_its_facts.sql"),
        },
    },
    Rule {
        name: "cancelled orders settle",
        why: "stock and money of a cancelled order belong to somebody else",
        check: Check::Always(cross_service::cancelled_orders_settle),
    },
    Rule {
        name: "no dead letters but the expected",
        why: "a dead letter is a fact that a service has not taken in",
        check: Check::Always(cross_service::no_dead_letters_but_the_expected),
    },
    Rule {
        name: "every order that was taken is there",
        why: "202 is a promise",
        check: Check::Always(cross_service::every_order_that_was_taken_is_there),
    },
    Rule {
        name: "the processor charged once",
        why: "a call that was made again must not take the money again",
        check: Check::Always(cross_service::the_processor_charged_once),
    },
    Rule {
        name: "each order has its stock",
        why: "what was sold left the shelf, and what was not is back on it",
        check: Check::AtRest(cross_service::each_order_has_its_stock),
    },
    Rule {
        name: "sold is what was ordered",
        why: "stock leaves for completed orders, and for nothing else",
        check: Check::AtRest(cross_service::sold_is_what_was_ordered),
    },
    Rule {
        name: "each order has its money",
        why: "what was completed was paid in full, and what was cancelled was not",
        check: Check::AtRest(cross_service::each_order_has_its_money),
    },
    Rule {
        name: "no capture without its order",
        why: "money that was taken for no order, and not given back, is stolen",
        check: Check::AtRest(cross_service::no_capture_without_its_order),
    },
    Rule {
        name: "the ledger is the processor's",
        why: "the money is where the processor says it is, not where we think",
        check: Check::AtRest(cross_service::the_ledger_is_the_processors),
    },
    Rule {
        name: "each order has its mails",
        why: "a customer hears of every end, and of no other",
        check: Check::AtRest(cross_service::each_order_has_its_mails),
    },
    Rule {
        name: "the summary is a recount",
        why: "each event counts exactly once, whatever was killed meanwhile",
        check: Check::AtRest(cross_service::the_summary_is_a_recount),
    },
];
