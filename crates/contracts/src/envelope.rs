//! The envelope: CloudEvents 1.0, structured JSON mode.
//!
//! Beside the required attributes it carries the extensions for distributed tracing (`traceparent`,
//! `tracestate`), correlation (`correlationid`, `causationid`) and sequence, as the `CloudEvents` extension
//! documents name them.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::catalogue::{Event, EventType, Service};

/// The content type of an encoded envelope.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// W3C Trace Context of whoever announced the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// `traceparent`, when the announcer was traced.
    pub traceparent: Option<String>,
    /// `tracestate`, when there is one.
    pub tracestate: Option<String>,
}

/// An event with all that is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// `UUIDv7`; the inbox key: a message with an id that was handled before changes nothing.
    pub id: Uuid,
    /// When it was announced.
    pub time: DateTime<Utc>,
    /// The id of the event that caused this one; none when a person or a clock did.
    pub causation_id: Option<Uuid>,
    /// The version of the announcing aggregate, counted from 1: a higher one is newer.
    pub sequence: i64,
    /// The trace that it belongs to.
    pub trace: TraceContext,
    /// What happened.
    pub event: Event,
}

/// Why a message is no event of ours. Such a message is poison: to try again would not help.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not the attributes of an envelope.
    #[error("not a CloudEvents envelope")]
    Malformed(#[source] serde_json::Error),
    /// A version of `CloudEvents` other than 1.0.
    #[error("specversion {0:?} is not \"1.0\"")]
    SpecVersion(String),
    /// An event, or a version of one, that this build does not know.
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    /// The data is not of the event's shape.
    #[error("the data is not that of {0}")]
    Data(EventType, #[source] serde_json::Error),
    /// An attribute contradicts the type or the data.
    #[error("{attribute} is {found:?} but should be {expected:?}")]
    Contradiction {
        /// The attribute.
        attribute: &'static str,
        /// What it says.
        found: String,
        /// What the type or the data says.
        expected: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire<'a, D> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    id: Uuid,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    time: DateTime<Utc>,
    #[serde(borrow)]
    datacontenttype: Cow<'a, str>,
    #[serde(borrow)]
    dataschema: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlationid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    data: D,
}

impl Envelope {
    /// What the event is about: the order's id, or the SKU.
    #[must_use]
    pub fn subject(&self) -> String {
        self.event.subject()
    }

    /// The service that announced it.
    #[must_use]
    pub fn source(&self) -> Service {
        self.event.event_type().owner()
    }

    /// Encodes the envelope as one JSON object.
    ///
    /// # Errors
    /// Never for an envelope made of the types of this crate; the encoder's signature leaves it open.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let event_type = self.event.event_type();
        serde_json::to_string(&Wire {
            specversion: "1.0".into(),
            id: self.id,
            source: source_of(event_type).into(),
            event_type: event_type.versioned_name().into(),
            subject: self.subject().into(),
            time: self.time,
            datacontenttype: "application/json".into(),
            dataschema: schema_of(event_type).into(),
            traceparent: self.trace.traceparent.clone(),
            tracestate: self.trace.tracestate.clone(),
            correlationid: self.event.order_id().map(|id| id.0),
            causationid: self.causation_id,
            // Decimal, padded so that the order of the texts is the order of the numbers, as the extension asks.
            sequence: format!("{:010}", self.sequence).into(),
            data: &self.event,
        })
    }

    /// Decodes a message's body.
    ///
    /// # Errors
    /// When it is not an envelope, or not of an event that this build knows.
    pub fn from_json(body: &[u8]) -> Result<Self, DecodeError> {
        let wire: Wire<'_, &RawValue> = serde_json::from_slice(body).map_err(DecodeError::Malformed)?;
        if wire.specversion != "1.0" {
            return Err(DecodeError::SpecVersion(wire.specversion.into_owned()));
        }
        let event_type: EventType =
            wire.event_type.parse().map_err(|_| DecodeError::UnknownType(wire.event_type.into_owned()))?;
        let event = Event::from_json(event_type, wire.data.get())
            .map_err(|error| DecodeError::Data(event_type, error))?;
        same("source", &wire.source, &source_of(event_type))?;
        same("subject", &wire.subject, &event.subject())?;
        let sequence = wire.sequence.parse().map_err(|_| DecodeError::Contradiction {
            attribute: "sequence",
            found: wire.sequence.clone().into_owned(),
            expected: "a decimal number".to_owned(),
        })?;
        Ok(Self {
            id: wire.id,
            time: wire.time,
            causation_id: wire.causationid,
            sequence,
            trace: TraceContext { traceparent: wire.traceparent, tracestate: wire.tracestate },
            event,
        })
    }
}

fn source_of(event_type: EventType) -> String {
    format!("/services/{}", event_type.owner())
}

fn schema_of(event_type: EventType) -> String {
    format!("urn:shop:events:{}", event_type.versioned_name())
}

fn same(attribute: &'static str, found: &str, expected: &str) -> Result<(), DecodeError> {
    if found == expected {
        return Ok(());
    }
    Err(DecodeError::Contradiction { attribute, found: found.to_owned(), expected: expected.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::samples;

    fn body_with(attribute: &str, value: serde_json::Value) -> Vec<u8> {
        let sample = samples().remove(1).to_json().expect("encodes");
        let mut json: serde_json::Value = serde_json::from_str(&sample).expect("is JSON");
        json[attribute] = value;
        json.to_string().into_bytes()
    }

    #[test]
    fn every_event_survives_the_round_trip() {
        for envelope in samples() {
            let body = envelope.to_json().expect("encodes");
            assert_eq!(Envelope::from_json(body.as_bytes()).expect(&body), envelope);
        }
    }

    #[test]
    fn every_golden_sample_still_decodes_and_none_is_missing() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
        let mut decoded = std::collections::HashSet::new();
        for entry in std::fs::read_dir(folder).expect(folder) {
            let path = entry.expect("readable").path();
            let body = std::fs::read(&path).expect("readable");
            let envelope =
                Envelope::from_json(&body).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            decoded.insert(envelope.event.event_type());
        }
        assert_eq!(decoded.len(), EventType::ALL.len(), "run `sagactl generate` for the missing samples");
    }

    #[test]
    fn what_is_no_event_of_ours_is_told_apart() {
        let check = |body: &[u8], expected: &str| {
            let error = Envelope::from_json(body).expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
        check(b"", "not a CloudEvents envelope");
        check(b"{}", "not a CloudEvents envelope");
        check(b"\xff\xfe", "not a CloudEvents envelope");
        check(&body_with("specversion", "0.3".into()), "specversion \"0.3\" is not \"1.0\"");
        check(&body_with("type", "order.placed.v9".into()), "unknown event type \"order.placed.v9\"");
        check(&body_with("data", serde_json::json!({"order_id": 7})), "the data is not that of order.placed");
        check(
            &body_with("source", "/services/payment".into()),
            "source is \"/services/payment\" but should be \"/services/order\"",
        );
        assert!(Envelope::from_json(&body_with("subject", "elsewhere".into())).is_err());
        assert!(Envelope::from_json(&body_with("sequence", "one".into())).is_err());
    }

    #[test]
    fn attributes_and_fields_that_nobody_knows_are_ignored() {
        let body = body_with("newattribute", "x".into());
        assert!(Envelope::from_json(&body).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(body: Vec<u8>) {
            let _ = Envelope::from_json(&body);
        }
    }
}
