//! Dead letters and their history as text. What came with a message is never printed as it is: a cell is escaped here, and
//! everything else by `devstack::print`.

use anyhow::Result;
use messaging::dead_letters::{DeadLetter, RecordedAction, hex};
use serde_json::Value;

use crate::table::{cell, table, time};

/// Bytes in a line of a body that is no text.
const BYTES_PER_LINE: usize = 32;

pub(super) fn dead_letters(dead_letters: &[&DeadLetter]) -> String {
    let row = |dead_letter: &&DeadLetter| {
        let requested = dead_letter.replay_requested_at.map(|_| "(replay requested) ").unwrap_or_default();
        [
            format!("{}\n{}", time(dead_letter.failed_at), dead_letter.id),
            format!("{}\n{}", dead_letter.service, dead_letter.attempts),
            format!("{}\n{}", cell(dead_letter.event_type.as_deref()), cell(dead_letter.subject.as_deref())),
            format!("{requested}{}", cell(Some(&dead_letter.reason))),
        ]
    };
    table(["when\nid", "service\nattempts", "event\norder", "reason"], dead_letters.iter().map(row))
}

pub(super) fn history(taken: &[(&str, RecordedAction)]) -> String {
    let row = |(service, taken): &(&str, RecordedAction)| {
        // A command that was interrupted leaves its outcome open.
        let done = if taken.done_at.is_some() { "yes" } else { "unknown" };
        [
            format!("{}\n{}", time(Some(taken.requested_at)), taken.dead_letter_id),
            format!("{}\n{}", cell(Some(&taken.requested_by)), service),
            format!("{}\n{done}", taken.action),
            format!("{}\n{}", cell(taken.event_type.as_deref()), cell(taken.subject.as_deref())),
            cell(taken.reason.as_deref()),
        ]
    };
    table(["when\nid", "by\nservice", "action\ndone", "event\norder", "reason"], taken.iter().map(row))
}

/// Everything that is known of a dead letter.
pub(super) fn dead_letter(dead_letter: &DeadLetter) -> Result<String> {
    let mut lines = vec![
        format!("dead letter {} of {}", dead_letter.id, dead_letter.service),
        format!("message  {}", cell(Some(&dead_letter.message_id))),
        format!("when     {}", time(dead_letter.failed_at)),
        format!("attempts {}", dead_letter.attempts),
        format!("reason   {}", cell(Some(&dead_letter.reason))),
        "headers".to_owned(),
        serde_json::to_string_pretty(&dead_letter.headers)?,
        "body".to_owned(),
    ];
    lines.extend(body(&dead_letter.body)?);
    Ok(lines.join("\n"))
}

/// JSON as JSON, text as text, anything else as hexadecimal digits.
fn body(body: &[u8]) -> Result<Vec<String>> {
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return Ok(vec![serde_json::to_string_pretty(&json)?]);
    }
    let is_text = |text: &&str| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    match std::str::from_utf8(body).ok().filter(is_text) {
        Some("") => Ok(vec!["(empty)".to_owned()]),
        Some(text) => Ok(text.lines().map(str::to_owned).collect()),
        None => Ok(body.chunks(BYTES_PER_LINE).map(hex).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_json_text_or_hex() {
        let check = |bytes: &[u8], shown: &[&str]| assert_eq!(body(bytes).expect("shown"), shown);
        check(br#"{"a":1}"#, &["{\n  \"a\": 1\n}"]);
        check(b"not json\nat all", &["not json", "at all"]);
        check(&[0, 159, 146, 150], &["009f9296"]);
        check(b"\x1b[2Jboo", &["1b5b324a626f6f"]);
        check(b"", &["(empty)"]);
    }
}
