//! Dead letters and their history as text. What came with a message is never printed as it is: it could hold
//! characters that a terminal obeys.

use anyhow::Result;
use chrono::{DateTime, Utc};
use messaging::dead_letters::{DeadLetter, Taken, hex};
use serde_json::{Value, json};

/// What fits a terminal of the usual width, for all that is not chosen by whoever wrote the message.
const LINE_CHARS: usize = 100;
const INDENT: &str = "  ";
/// Bytes in a line of a body that is no text.
const BYTES_PER_LINE: usize = 32;

/// An entry of a table with the columns of its first line, those of its second, and the text behind them, as long as
/// it likes.
type Entry<const FIRST: usize, const SECOND: usize> = ([String; FIRST], [String; SECOND], String);

/// The letters, below a head.
pub(super) fn letters(letters: &[DeadLetter]) -> Vec<String> {
    let head = (
        ["when", "service", "event", "order"].map(str::to_owned),
        ["id", "attempts"].map(str::to_owned),
        "reason".to_owned(),
    );
    let entries = letters.iter().map(|letter| {
        let requested = letter.replay_requested_at.map(|_| "(replay requested) ").unwrap_or_default();
        let first = [
            time(letter.failed_at),
            letter.service.to_string(),
            cell(letter.event_type.as_deref()),
            cell(letter.subject.as_deref()),
        ];
        let second = [letter.id.to_string(), letter.attempts.to_string()];
        (first, second, format!("{requested}{}", cell(Some(&letter.reason))))
    });
    table(&std::iter::once(head).chain(entries).collect::<Vec<_>>())
}

/// The actions, below a head.
pub(super) fn history(taken: &[(&str, Taken)]) -> Vec<String> {
    let head = (
        ["when", "by", "action", "done", "service", "event"].map(str::to_owned),
        ["id", "order"].map(str::to_owned),
        "why".to_owned(),
    );
    let entries = taken.iter().map(|(service, taken)| {
        let first = [
            time(Some(taken.requested_at)),
            cell(Some(&taken.requested_by)),
            taken.action.clone(),
            // The command was cut off, so that it is not known.
            if taken.done_at.is_some() { "yes" } else { "unknown" }.to_owned(),
            service.to_string(),
            cell(taken.event_type.as_deref()),
        ];
        let second = [taken.dead_letter_id.clone(), cell(taken.subject.as_deref())];
        (first, second, cell(taken.reason.as_deref()))
    });
    table(&std::iter::once(head).chain(entries).collect::<Vec<_>>())
}

/// Everything that is known of a letter.
pub(super) fn letter(letter: &DeadLetter) -> Result<Vec<String>> {
    let mut lines = vec![
        format!("letter {} of {}", letter.id, letter.service),
        format!("message  {}", cell(Some(&letter.message_id))),
        format!("when     {}", time(letter.failed_at)),
        format!("attempts {}", letter.attempts),
        format!("reason   {}", cell(Some(&letter.reason))),
        "headers".to_owned(),
        serde_json::to_string_pretty(&letter.headers)?,
        "body".to_owned(),
    ];
    lines.extend(body(&letter.body)?);
    Ok(lines)
}

/// The letters for a program, bodies left out.
pub(super) fn letters_as_json(letters: &[DeadLetter]) -> Result<String> {
    let letters: Vec<Value> = letters
        .iter()
        .map(|letter| {
            json!({
                "id": letter.id, "failed_at": letter.failed_at, "service": letter.service,
                "message_id": letter.message_id, "event_type": letter.event_type, "subject": letter.subject,
                "attempts": letter.attempts, "reason": letter.reason,
                "replay_requested_at": letter.replay_requested_at,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&letters)?)
}

/// The history for a program.
pub(super) fn history_as_json(taken: &[(&str, Taken)]) -> Result<String> {
    let mut all = Vec::new();
    for (service, taken) in taken {
        let mut action = serde_json::to_value(taken)?;
        action["service"] = json!(service);
        all.push(action);
    }
    Ok(serde_json::to_string_pretty(&all)?)
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

fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A value in one line, without what a terminal would obey.
fn cell(text: Option<&str>) -> String {
    match text {
        None | Some("") => "-".to_owned(),
        Some(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
    }
}

/// Two lines an entry, and more where its text needs them.
fn table<const FIRST: usize, const SECOND: usize>(entries: &[Entry<FIRST, SECOND>]) -> Vec<String> {
    let first = aligned(entries.iter().map(|(first, ..)| first));
    let second = aligned(entries.iter().map(|(_, second, _)| second));
    let mut lines = Vec::new();
    for ((first, second), (.., text)) in first.iter().zip(second).zip(entries) {
        lines.push(first.trim_end().to_owned());
        let mut before = format!("{INDENT}{second}  ");
        let indent = before.chars().count();
        for line in wrapped(text, LINE_CHARS.saturating_sub(indent)) {
            lines.push(format!("{before}{line}"));
            before = " ".repeat(indent);
        }
    }
    lines
}

/// The rows as lines, every column as wide as its widest cell.
fn aligned<'a, const COLUMNS: usize>(
    rows: impl Iterator<Item = &'a [String; COLUMNS]> + Clone,
) -> Vec<String> {
    let width = |column: usize| rows.clone().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ")
    };
    rows.map(line).collect()
}

/// The text in lines of at most so many characters, broken between words; only a longer word is left whole.
fn wrapped(text: &str, chars: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= chars => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_a_long_text_goes_on_below() {
        let entry = |when: &str, service: &str, id: &str, text: &str| {
            ([when.to_owned(), service.to_owned()], [id.to_owned()], text.to_owned())
        };
        let long = format!("{} end", "x".repeat(90));
        let lines = table(&[entry("when", "service", "id", "reason"), entry("now", "order", "1234", &long)]);
        let broken = format!("  1234  {}", "x".repeat(90));
        assert_eq!(lines, ["when  service", "  id    reason", "now   order", &broken, "        end"]);
    }

    #[test]
    fn a_text_is_broken_between_words() {
        let check = |text: &str, lines: &[&str]| assert_eq!(wrapped(text, 5), lines, "{text:?}");
        check("", &[""]);
        check("ab cd", &["ab cd"]);
        check("ab cde", &["ab", "cde"]);
        check("abcdefg h", &["abcdefg", "h"]);
    }

    #[test]
    fn a_body_is_shown_as_what_it_is() {
        let check = |bytes: &[u8], shown: &[&str]| assert_eq!(body(bytes).expect("shown"), shown);
        check(br#"{"a":1}"#, &["{\n  \"a\": 1\n}"]);
        check(b"not json\nat all", &["not json", "at all"]);
        check(&[0, 159, 146, 150], &["009f9296"]);
        check(b"\x1b[2Jboo", &["1b5b324a626f6f"]);
        check(b"", &["(empty)"]);
    }

    #[test]
    fn a_cell_holds_nothing_that_a_terminal_obeys() {
        assert_eq!(cell(Some("\x1b[2Ja\nb")), " [2Ja b");
        assert_eq!(cell(None), "-");
    }
}
