//! A dead letter as a person sees it.

use std::{fmt, str::FromStr};

use amqp::RawMessage;
use chrono::{DateTime, Utc};
use contracts::ServiceName;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::failed_message::{ATTEMPTS, FAILED_AT, REASON};

/// The hexadecimal digits of an id: no two of 10,000 dead letters are likely to share one.
const ID_DIGITS: usize = 12;

/// The id of a dead letter: 12 hexadecimal digits, derived from its place and its content, so that it is the same in every
/// list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DeadLetterId(String);

impl DeadLetterId {
    /// Derived from what distinguishes this dead letter from all others.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let mut digits = hex(&hash.finalize());
        digits.truncate(ID_DIGITS);
        Self(digits)
    }
}

impl FromStr for DeadLetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.to_ascii_lowercase();
        if digits.len() != ID_DIGITS || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("an id has {ID_DIGITS} digits of 0-9 and a-f, as `list` shows them"));
        }
        Ok(Self(digits))
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A message that failed every attempt, or cannot be decoded. Serializes without its headers and its body.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    pub id: DeadLetterId,
    pub service: ServiceName,
    /// When it failed last; unknown for a message that no service put there.
    pub failed_at: Option<DateTime<Utc>>,
    /// The id by which the inbox knows the message.
    pub message_id: String,
    /// The event's type with its version, if the body is JSON that has one.
    pub event_type: Option<String>,
    /// What the event is about, usually the id of an order, if the body is JSON that has it.
    pub subject: Option<String>,
    /// How many attempts have failed; 0 for a message that cannot be decoded.
    pub attempts: i64,
    pub reason: String,
    /// When a replay was requested that the stream reader has not carried out yet; only for a dead letter of the stream.
    pub replay_requested_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub body: Vec<u8>,
    /// The headers; none for a message of the stream.
    #[serde(skip)]
    pub headers: Value,
    #[serde(skip)]
    pub(super) content_type: Option<String>,
    /// The delivery tag under which it is held, or its offset in the stream.
    #[serde(skip)]
    pub(super) place: u64,
}

impl DeadLetter {
    pub(super) fn held(service: ServiceName, message: &RawMessage) -> Self {
        let headers = message.headers();
        let message_id = message.id().unwrap_or_default();
        let failed_at = headers.text(FAILED_AT).unwrap_or_default();
        let id = DeadLetterId::of(&[
            service.as_str().as_bytes(),
            message_id.as_bytes(),
            failed_at.as_bytes(),
            message.body(),
        ]);
        let (failed_at, reason) = match headers.latest_death() {
            Some(death) => (
                death.time.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
                format!("dead-lettered by the broker in {}: {}", death.queue, death.reason),
            ),
            None => (
                DateTime::parse_from_rfc3339(&failed_at).ok().map(|time| time.to_utc()),
                headers.text(REASON).unwrap_or_default(),
            ),
        };
        let attributes = Attributes::of(message.body());
        Self {
            id,
            service,
            failed_at,
            message_id,
            event_type: attributes.event_type,
            subject: attributes.subject,
            attempts: headers.number(ATTEMPTS).unwrap_or_default(),
            reason,
            replay_requested_at: None,
            body: message.body().to_vec(),
            headers: headers.to_json(),
            content_type: message.content_type().map(str::to_owned),
            place: message.delivery_tag(),
        }
    }
}

/// The attributes of a body that is JSON, also of an event that this build does not know.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) id: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) subject: Option<String>,
}

impl Attributes {
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(json) = strict_json::from_slice::<Value>(body) else { return Self::default() };
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Self { id: text("id"), event_type: text("type"), subject: text("subject") }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_parsed_as_it_is_shown() {
        let id = DeadLetterId::of(&[b"payment", b"7"]);
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        for text in ["", "12345", "12345678901g", "1234567890123"] {
            assert!(text.parse::<DeadLetterId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_depends_on_where_its_parts_end() {
        assert_ne!(DeadLetterId::of(&[b"ab", b"c"]), DeadLetterId::of(&[b"a", b"bc"]));
    }
}
