//! What is simulated: the shipped functions of the services, and the guards around them.
//!
//! An injected fault replaces one of them, by a wrapper or by leaving a guard out. The shipped code has no switches.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{Event, InvalidTransition};
use inventory::domain::{Reservation, Stock};
use messaging::jobs::Resolution;
use notification::domain::OrderNotifications;
use order::domain::{MessageFlow, Moment, Order};
use payment::domain::{Action, Answer, Payment};
use payment::processor::{KEY_RETENTION, Refused, Reply, Request};
use reqwest::StatusCode;
use uuid::Uuid;

type React<T> = Result<T, InvalidTransition>;
type OrderReact = fn(&Order, &Event, i64, &Moment) -> React<order::domain::Transition>;
type InventoryReact = fn(&Reservation, &Stock, &Event) -> React<inventory::domain::Transition>;
type PaymentReact = fn(&Payment, &payment::domain::Input) -> React<payment::domain::Transition>;
type NotificationReact =
    fn(&OrderNotifications, &notification::domain::Input, Uuid) -> React<notification::domain::Transition>;

/// Reads an answer of the processor: its status and its body.
pub(crate) type AnswerReader = fn(&Request, StatusCode, &[u8]) -> Result<Reply, Refused>;
/// Reads what the processor says of an authorization, and why it was asked.
pub(crate) type LookupReader = fn(&Request, &str, StatusCode, &[u8]) -> Reply;

/// The functions and guards that a run is made with.
#[derive(Clone, Copy)]
pub(crate) struct System {
    /// What an order makes of an answer.
    pub(crate) order: OrderReact,
    /// What an order makes of the clock.
    pub(crate) timeout: fn(&Order, &Moment) -> order::domain::Transition,
    /// What the note of when messages flowed becomes once they are seen to.
    pub(crate) flow: fn(MessageFlow, DateTime<Utc>) -> MessageFlow,
    /// What a reservation makes of an event.
    pub(crate) inventory: InventoryReact,
    /// What a payment makes of an event or an answer.
    pub(crate) payment: PaymentReact,
    /// What the mails about an order make of an event or an answer.
    pub(crate) notification: NotificationReact,
    /// What an answer of the processor means.
    pub(crate) answer: AnswerReader,
    /// What it means that the processor says of an authorization when asked.
    pub(crate) found: LookupReader,
    /// What a call that got no answer is taken for; nothing: it is made again.
    pub(crate) silence: fn(Action) -> Option<Answer>,
    /// Whether a call of this age is looked up rather than made again.
    pub(crate) is_looked_up: fn(TimeDelta) -> bool,
    /// Whether a job that was tried so often may be withdrawn.
    pub(crate) may_withdraw: fn(u32) -> bool,
    /// What an operator who looked at the processor's dashboard says.
    pub(crate) resolve: fn(&Request, &Resolution) -> Result<Answer, String>,
    /// Whether an outcome counts only while no other worker has claimed its job.
    pub(crate) stale_outcomes_are_dropped: bool,
    /// Whether the jobs of one key run in the order in which they were written.
    pub(crate) jobs_run_in_order: bool,
    /// The idempotency key of the n-th attempt at a call.
    pub(crate) key: fn(&Request, u32) -> String,
    /// Whether the inbox and the rows of the jobs keep repeats away from the state tables.
    pub(crate) repeats_are_kept_away: bool,
    /// Whether analytics has an inbox. It counts, so it cannot do without.
    pub(crate) analytics_has_an_inbox: bool,
    /// How events get from a transaction to the broker.
    pub(crate) publishing: Publishing,
}

/// How events get from a transaction to the broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// By the outbox, a table of the same transaction.
    Outbox,
    /// Straight away, before the commit: a rollback has published what never was.
    BeforeCommit,
    /// Straight away, after the commit: a crash between the two loses them.
    AfterCommit,
}

impl System {
    /// The shipped system.
    pub(crate) const SHIPPED: Self = Self {
        order: order::domain::react,
        timeout: order::domain::decide_timeout,
        flow: MessageFlow::seen,
        inventory: inventory::domain::react,
        payment: payment::domain::react,
        notification: notification::domain::react,
        answer: payment::processor::answer,
        found: payment::processor::lookup::found,
        silence: |_| None,
        is_looked_up: |age| age.to_std().is_ok_and(|age| age >= KEY_RETENTION),
        may_withdraw: |attempts| attempts == 0,
        resolve: payment::processor::resolution::resolve,
        stale_outcomes_are_dropped: true,
        jobs_run_in_order: true,
        key: |request, _| request.idempotency_key(),
        repeats_are_kept_away: true,
        analytics_has_an_inbox: true,
        publishing: Publishing::Outbox,
    };

    /// The shipped system after its inboxes forgot everything: the state tables stand alone.
    pub(crate) const FORGETFUL: Self = Self { repeats_are_kept_away: false, ..Self::SHIPPED };
}
