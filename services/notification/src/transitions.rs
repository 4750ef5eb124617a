//! Every state of a notification against every event and every answer of the mail server.

use chrono::DateTime;
use contracts::NotificationKind;
use messaging::transitions::{INVALID, NOTHING, TransitionTable, consumed};
use strum::VariantArray;
use uuid::Uuid;

use crate::domain::{Input, Status, Step, step};

const TITLE: &str = "What a notification does";
const NOTES: &str = "
By `step` in `services/notification/src/domain.rs`. A row is a notification of an order, and whether `order.cancelled`
was consumed before.
";

type State = (NotificationKind, Option<Status>, bool);

pub fn transitions() -> String {
    let heads = &["notification", "is", "order is"];
    let states = states().into_iter().map(|state| (names(&state), state)).collect();
    TransitionTable { title: TITLE, notes: NOTES, heads, states, inputs: inputs() }.print(cell)
}

fn cell((kind, status, cancelled): &State, input: &Input) -> String {
    match step(*kind, *status, *cancelled, input) {
        Step::Becomes(status) => status.to_string(),
        Step::Stays => NOTHING.to_owned(),
        Step::Invalid => INVALID.to_owned(),
    }
}

fn inputs() -> Vec<(String, Input)> {
    let events = consumed(system::Service::Notification.subscriptions()).into_iter();
    let events = events.map(|(name, sample)| (name, Input::Event(sample.event, sample.aggregate_version)));
    let (id, attempts) = (Uuid::nil(), 1);
    let answers = [
        Input::Accepted { id, attempts, at: DateTime::UNIX_EPOCH },
        Input::Refused { id, attempts, reason: "a reason".to_owned() },
    ];
    events.chain(answers.map(|input| (input.name().to_owned(), input))).collect()
}

fn states() -> Vec<State> {
    let mut states = Vec::new();
    for kind in NotificationKind::KNOWN {
        for status in [None].into_iter().chain(Status::VARIANTS.iter().copied().map(Some)) {
            states.extend(before(*kind, status).iter().map(|cancelled| (*kind, status, *cancelled)));
        }
    }
    states
}

/// Whether the order can have been cancelled, and not, when a notification of this kind is in this status; nothing when
/// it is never in it.
fn before(kind: NotificationKind, status: Option<Status>) -> &'static [bool] {
    match (kind, status) {
        (NotificationKind::Cancelled, None) | (NotificationKind::Refunded, Some(Status::Waiting)) => &[false],
        (_, None) | (NotificationKind::Confirmed, Some(Status::Sent | Status::Failed)) => &[false, true],
        (NotificationKind::Confirmed, Some(Status::Queued)) => &[false],
        (NotificationKind::Confirmed, Some(Status::Dropped)) => &[true],
        (_, Some(Status::Waiting | Status::Dropped)) => &[],
        (_, Some(_)) => &[true],
    }
}

fn names((kind, status, cancelled): &State) -> Vec<String> {
    let order = if *cancelled { "cancelled" } else { "-" };
    vec![kind.to_string(), status.map_or("-", <&str>::from).to_owned(), order.to_owned()]
}
