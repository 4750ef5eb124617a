//! A dead letter as a person sees it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeZone, Utc};
use contracts::ServiceName;
use lapin::{
    message::BasicGetMessage,
    types::{AMQPValue, FieldTable},
};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::retry::{ATTEMPTS, FAILED_AT, REASON};

/// What a broker adds that puts a message among the dead letters itself: the latest death comes first.
const DEATHS: &str = "x-death";
/// How many hexadecimal digits an id has: of 10,000 letters no two are likely to share one.
const ID_DIGITS: usize = 12;

/// The name of a dead letter: 12 hexadecimal digits, made from where it lies and what it is, so that it stays the
/// same however often somebody looks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DeadLetterId(String);

impl DeadLetterId {
    /// Made from what tells this letter from every other.
    fn of(parts: &[&[u8]]) -> Self {
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

/// A message that could not be handled.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its name.
    pub id: DeadLetterId,
    /// The service that could not handle it.
    pub service: ServiceName,
    /// When it failed last; unknown for a message that somebody else put there.
    pub failed_at: Option<DateTime<Utc>>,
    /// The message's id, by which the inbox knows it.
    pub message_id: String,
    /// The event's type with its version, as far as the body is JSON that has one.
    pub event_type: Option<String>,
    /// What the event is about, the order's id as a rule, as far as the body is JSON that has one.
    pub subject: Option<String>,
    /// How often it was tried and failed; 0 for poison.
    pub attempts: i64,
    /// Why it failed last.
    pub reason: String,
    /// When a replay was requested that the reader of the log has yet to take up; only analytics has such.
    pub replay_requested_at: Option<DateTime<Utc>>,
    /// The body, as it came.
    pub body: Vec<u8>,
    /// The headers; those of a message of the log are not kept.
    pub headers: Value,
    pub(super) content_type: Option<String>,
    /// The delivery tag under which it is held, or its offset in the log.
    pub(super) place: u64,
}

impl DeadLetter {
    /// One that is held on a channel.
    pub(super) fn held(service: ServiceName, message: &BasicGetMessage) -> Self {
        let delivery = &message.delivery;
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        let text = |name: &str| text_of(&headers, name);
        let message_id = delivery.properties.message_id().as_ref().map(ToString::to_string);
        let message_id = message_id.unwrap_or_default();
        let failed_at = text(FAILED_AT).and_then(|time| DateTime::parse_from_rfc3339(&time).ok());
        let death = Death::latest(&headers);
        let id = DeadLetterId::of(&[
            service.as_str().as_bytes(),
            message_id.as_bytes(),
            text(FAILED_AT).unwrap_or_default().as_bytes(),
            &delivery.data,
        ]);
        let attributes = Attributes::of(&delivery.data);
        Self {
            id,
            service,
            failed_at: death.as_ref().map_or(failed_at.map(|time| time.to_utc()), |death| death.time),
            message_id,
            event_type: attributes.event_type,
            subject: attributes.subject,
            attempts: number_of(&headers, ATTEMPTS).unwrap_or_default(),
            reason: death.map_or(text(REASON), |death| Some(death.reason)).unwrap_or_default(),
            replay_requested_at: None,
            body: delivery.data.clone(),
            headers: json_of(&headers),
            content_type: delivery.properties.content_type().as_ref().map(ToString::to_string),
            place: delivery.delivery_tag,
        }
    }

    /// One of the table: what its row holds.
    pub(super) fn of_stream(
        service: ServiceName,
        offset: i64,
        (failed_at, reason): (DateTime<Utc>, String),
        body: Vec<u8>,
        replay_requested_at: Option<DateTime<Utc>>,
    ) -> Self {
        let attributes = Attributes::of(&body);
        Self {
            id: DeadLetterId::of(&[service.as_str().as_bytes(), &offset.to_be_bytes()]),
            service,
            failed_at: Some(failed_at),
            message_id: attributes.id.unwrap_or_default(),
            event_type: attributes.event_type,
            subject: attributes.subject,
            attempts: 1,
            reason,
            replay_requested_at,
            body,
            headers: Value::Object(Map::new()),
            content_type: None,
            place: offset.cast_unsigned(),
        }
    }
}

/// A death that the broker noted: the message was given back too often, so that the queue gave it up.
struct Death {
    reason: String,
    time: Option<DateTime<Utc>>,
}

impl Death {
    fn latest(headers: &FieldTable) -> Option<Self> {
        let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get(DEATHS) else { return None };
        let Some(AMQPValue::FieldTable(latest)) = deaths.as_slice().first() else { return None };
        let (reason, queue) = (text_of(latest, "reason")?, text_of(latest, "queue").unwrap_or_default());
        let time = number_of(latest, "time").and_then(|seconds| Utc.timestamp_opt(seconds, 0).single());
        Some(Self { reason: format!("the broker gave it up in {queue}: {reason}"), time })
    }
}

/// What a body says of itself, when it is JSON, be it an event that this build knows or not.
#[derive(Default)]
struct Attributes {
    id: Option<String>,
    event_type: Option<String>,
    subject: Option<String>,
}

impl Attributes {
    fn of(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Self { id: text("id"), event_type: text("type"), subject: text("subject") }
    }
}

fn text_of(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number_of(table: &FieldTable, name: &str) -> Option<i64> {
    json_of_value(table.inner().get(name)?).as_i64()
}

fn json_of(table: &FieldTable) -> Value {
    table.inner().iter().map(|(name, value)| (name.to_string(), json_of_value(value))).collect()
}

fn json_of_value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json_of_value).collect(),
        AMQPValue::FieldTable(table) => json_of(table),
        AMQPValue::ByteArray(bytes) => hex(bytes.as_slice()).into(),
        AMQPValue::DecimalValue(decimal) => format!("{decimal:?}").into(),
        AMQPValue::Void => Value::Null,
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use lapin::types::{FieldArray, LongString};

    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = DeadLetterId::of(&[b"payment", b"7"]);
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        for text in ["", "12345", "12345678901g", "1234567890123"] {
            assert!(text.parse::<DeadLetterId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_tells_where_one_part_ends_and_the_next_begins() {
        assert_ne!(DeadLetterId::of(&[b"ab", b"c"]), DeadLetterId::of(&[b"a", b"bc"]));
    }

    #[test]
    fn a_death_that_the_broker_noted_says_reason_queue_and_time() {
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        let mut death = FieldTable::default();
        death.insert("reason".into(), text("delivery_limit"));
        death.insert("queue".into(), text("payment.events"));
        death.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
        let mut headers = FieldTable::default();
        headers.insert(
            DEATHS.into(),
            AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])),
        );
        let latest = Death::latest(&headers).expect("a death");
        assert_eq!(latest.reason, "the broker gave it up in payment.events: delivery_limit");
        assert_eq!(latest.time, Utc.timestamp_opt(1_700_000_000, 0).single());
        assert_eq!(json_of(&headers)["x-death"][0]["time"], 1_700_000_000);
    }
}
