//! The headers of a message.

use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

/// What a broker adds to a message that it dead-letters itself: one table a queue and reason, the latest first.
const DEATHS: &str = "x-death";

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers(pub(crate) FieldTable);

/// That the broker dead-lettered a message itself, because it was delivered too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Why, in the broker's word: `delivery_limit`.
    pub reason: String,
    pub queue: String,
    /// When, in seconds since 1970.
    pub time: Option<i64>,
}

impl Headers {
    /// The latest time that the broker dead-lettered the message itself.
    pub fn latest_death(&self) -> Option<Death> {
        let Some(AMQPValue::FieldArray(deaths)) = self.0.inner().get(DEATHS) else { return None };
        let Some(AMQPValue::FieldTable(latest)) = deaths.as_slice().first() else { return None };
        Some(Death {
            reason: text_of(latest, "reason")?,
            queue: text_of(latest, "queue").unwrap_or_default(),
            time: number_of(latest, "time"),
        })
    }

    /// All headers as a JSON object; bytes as hexadecimal digits.
    pub fn to_json(&self) -> Value {
        json_of(&self.0)
    }
}

fn text_of(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

pub(crate) fn number_of(table: &FieldTable, name: &str) -> Option<i64> {
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
        AMQPValue::ByteArray(bytes) => {
            bytes.as_slice().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
        AMQPValue::DecimalValue(decimal) => format!("{decimal:?}").into(),
        AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    #[test]
    fn the_latest_death_has_reason_queue_and_time() {
        let mut death = FieldTable::default();
        for (name, text) in [("reason", "delivery_limit"), ("queue", "payment.events")] {
            death.insert(name.into(), AMQPValue::LongString(text.into()));
        }
        death.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
        let mut headers = Headers::default();
        let deaths = FieldArray::from(vec![AMQPValue::FieldTable(death)]);
        headers.0.insert(DEATHS.into(), AMQPValue::FieldArray(deaths));
        let latest = Death {
            reason: "delivery_limit".to_owned(),
            queue: "payment.events".to_owned(),
            time: Some(1_700_000_000),
        };
        assert_eq!(headers.latest_death(), Some(latest));
        assert_eq!(headers.to_json()["x-death"][0]["time"], 1_700_000_000);
    }
}
