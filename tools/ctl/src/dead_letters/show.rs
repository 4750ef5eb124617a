//! Dead letters and their history as text. What came with a message is never printed as it is: a cell is escaped here, and
//! everything else by `devstack::print`.

use anyhow::Result;
use messaging::dead_letters::{FailedMessage, RecordedAction};
use serde_json::Value;
use system::Service;

use crate::table::{cell, table, time};

/// Bytes in a line of a body that is no text.
const BYTES_PER_LINE: usize = 32;

pub(super) fn messages(messages: &[(Service, FailedMessage)]) -> String {
    let row = |(service, message): &(Service, FailedMessage)| {
        let class = match message.class.as_str() {
            "not_for_this_build" => "waits for a newer build: ",
            _ => "",
        };
        [
            format!("{}\n{}", time(Some(message.failed_at)), message.id),
            format!("{service}\n{}", message.attempts),
            format!("{}\n{}", cell(message.event_type.as_deref()), cell(message.subject.as_deref())),
            format!("{class}{}", cell(Some(&message.reason))),
        ]
    };
    table(["when\nid", "service\nattempts", "event\norder", "reason"], messages.iter().map(row))
}

pub(super) fn history(actions: &[(Service, RecordedAction)]) -> String {
    let row = |(service, action): &(Service, RecordedAction)| {
        [
            format!("{}\n{}", time(Some(action.requested_at)), action.dead_letter_id),
            format!("{}\n{service}", cell(Some(&action.requested_by))),
            action.action.clone(),
            format!("{}\n{}", cell(action.event_type.as_deref()), cell(action.subject.as_deref())),
            cell(action.reason.as_deref()),
        ]
    };
    table(["when\nid", "by\nservice", "action", "event\norder", "reason"], actions.iter().map(row))
}

/// Everything that is known of a message that failed.
pub(super) fn message(service: Service, message: &FailedMessage) -> Result<String> {
    let next = message.due_at.map_or_else(|| "none: a dead letter".to_owned(), |due| time(Some(due)));
    let mut lines = vec![
        format!("{} of {service}", message.id),
        format!("message  {}", cell(message.message_id.as_deref())),
        format!("from     {}", message.source),
        format!("came     {}", time(Some(message.received_at))),
        format!("failed   {}", time(Some(message.failed_at))),
        format!("attempts {}", message.attempts),
        format!("next     {next}"),
        format!("reason   {}", cell(Some(&message.reason))),
        format!("content  {}", cell(message.content_type.as_deref())),
        "headers".to_owned(),
        serde_json::to_string_pretty(&message.headers)?,
        "body".to_owned(),
    ];
    lines.extend(body(&message.body)?);
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
