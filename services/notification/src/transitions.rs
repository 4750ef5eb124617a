//! The whole of [`domain::react`](crate::domain::react) as a table, for people: `transitions.md`, written by
//! `sagactl generate`.

use contracts::NotificationKind;

use crate::domain::{Input, Known, Status, react};

const INPUTS: [(Input, &str); 5] = [
    (Input::OrderConfirmed, "`order.confirmed`"),
    (Input::OrderCancelled, "`order.cancelled`"),
    (Input::PaymentRefunded, "`payment.refunded`"),
    (Input::Accepted, "mail accepted"),
    (Input::Refused, "mail refused"),
];

const INTRODUCTION: &str = "\
# What a notification becomes

A row is a notification of an order and what is known of the order, a column is what it is told. An empty
cell changes nothing. The contact is known once `order.confirmed` or `order.cancelled` is heard.
";

/// The matrix as Markdown.
#[must_use]
pub fn transitions() -> String {
    let mut lines = vec![
        format!("| notification | is | known |{}", cells(&INPUTS.map(|(_, name)| name.to_owned()))),
        format!("|---|---|---|{}", "---|".repeat(INPUTS.len())),
    ];
    for kind in NotificationKind::KNOWN {
        for status in [None].into_iter().chain(Status::ALL.iter().copied().map(Some)) {
            lines.extend(knowledge(*kind, status).iter().map(|known| row(*kind, status, *known)));
        }
    }
    format!("{INTRODUCTION}\n{}\n", lines.join("\n"))
}

/// What can be known of an order of which a notification of this kind is in this status; nothing when the
/// notification is never in it. One is enough where `react` does not look.
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

fn row(kind: NotificationKind, status: Option<Status>, known: Known) -> String {
    let known_text = match known {
        Known { cancelled: true, .. } => "contact, cancelled",
        Known { contact: true, .. } => "contact",
        Known { .. } => "-",
    };
    let results = INPUTS.map(|(input, _)| match react(kind, status, known, input) {
        Ok(Some(next)) => next.to_string(),
        Ok(None) => String::new(),
        Err(_) => "InvalidTransition".to_owned(),
    });
    format!("| {kind} | {} | {known_text} |{}", status.map_or("-", Status::as_str), cells(&results))
}

fn cells(texts: &[String; INPUTS.len()]) -> String {
    texts.iter().map(|text| format!(" {text} |")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn matrix_md_is_what_the_code_does() {
        assert_eq!(include_str!("../transitions.md"), super::transitions(), "run `sagactl generate`");
    }
}
