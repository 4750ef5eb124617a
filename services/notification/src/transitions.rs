//! Every state of a notification against every event and every answer of the mail server.

use chrono::DateTime;
use contracts::NotificationKind;
use messaging::transitions::{INVALID, NOTHING, TransitionTable, consumed};
use strum::VariantArray;
use uuid::Uuid;

use crate::domain::{Input, Known, Status, Step, step};

const TITLE: &str = "What a notification does";
const NOTES: &str = "
By `step` in `services/notification/src/domain.rs`. A row is a notification of an order and what is known of the order.
The contact is known once `order.confirmed` or `order.cancelled` is consumed.
";

type State = (NotificationKind, Option<Status>, Known);

pub fn transitions() -> String {
    let heads = &["notification", "is", "known"];
    let states = states().into_iter().map(|state| (names(&state), state)).collect();
    TransitionTable { title: TITLE, notes: NOTES, heads, states, inputs: inputs() }.print(cell)
}

fn cell((kind, status, known): &State, input: &Input) -> String {
    match step(*kind, *status, *known, input) {
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
            states.extend(knowledge(*kind, status).iter().map(|known| (*kind, status, *known)));
        }
    }
    states
}

/// What can be known of an order of which a notification of this kind is in this status; nothing when the
/// notification is never in it. One is enough where `step` does not look.
fn knowledge(kind: NotificationKind, status: Option<Status>) -> &'static [Known] {
    const NOTHING: Known = Known { contact: false, cancelled: false };
    const CONTACT: Known = Known { contact: true, cancelled: false };
    const CANCELLED: Known = Known { contact: true, cancelled: true };
    match (kind, status) {
        (NotificationKind::Cancelled, None) => &[NOTHING],
        (_, None) => &[NOTHING, CONTACT, CANCELLED],
        (NotificationKind::Refunded, Some(Status::Waiting)) => &[NOTHING],
        (NotificationKind::Confirmed, Some(Status::Dropped)) => &[CANCELLED],
        (_, Some(Status::Waiting | Status::Dropped)) => &[],
        (NotificationKind::Cancelled, Some(_)) => &[CANCELLED],
        (_, Some(_)) => &[CONTACT],
    }
}

fn names((kind, status, known): &State) -> Vec<String> {
    let known = match known {
        Known { cancelled: true, .. } => "contact, cancelled",
        Known { contact: true, .. } => "contact",
        Known { .. } => "-",
    };
    vec![kind.to_string(), status.map_or("-", <&str>::from).to_owned(), known.to_owned()]
}
