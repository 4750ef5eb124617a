//! The envelope: CloudEvents 1.0, structured JSON mode.
//!
//! Beside the required attributes it carries the extensions for distributed tracing (`traceparent`, `tracestate`), as
//! the `CloudEvents` extension documents name them, correlation (`correlationid`, `causationid`), and
//! `aggregateversion`. The extension `sequence` counts per source, and so cannot be the version of an aggregate.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    error::DecodeError,
    messages::{EventSet, Row, Versions},
};

pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// A longer `tracestate` is dropped (W3C Trace Context asks for at least 512 characters to be passed on).
const TRACESTATE_MAX_BYTES: usize = 512;

/// W3C Trace Context of the publisher.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TraceContext {
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
}

impl TraceContext {
    /// The context as far as it is valid (W3C Trace Context, sections 3.2 and 3.3): foreign text that no header, row or mail
    /// could carry is dropped, and so is a `tracestate` without its `traceparent`.
    pub fn of_foreign(traceparent: Option<String>, tracestate: Option<String>) -> Self {
        let traceparent = traceparent.filter(|text| is_traceparent(text));
        let is_printable = |text: &String| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let tracestate = tracestate
            .filter(|text| traceparent.is_some() && text.len() <= TRACESTATE_MAX_BYTES && is_printable(text));
        Self { traceparent, tracestate }
    }
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`
fn is_traceparent(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 55
        && text.bytes().enumerate().all(|(at, byte)| match at {
            2 | 35 | 52 => byte == b'-',
            _ => is_hex(byte),
        })
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<E> {
    /// `UUIDv7`; the inbox key: a message with an id that was handled before changes nothing.
    pub id: Uuid,
    pub time: DateTime<Utc>,
    /// The id of the event that caused this one; none when a person or a clock did.
    pub causation_id: Option<Uuid>,
    /// The version of the publishing aggregate that the event made, counted from 1: a higher one is newer.
    pub aggregate_version: i64,
    pub trace: TraceContext,
    pub event: E,
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
    /// Optional in `CloudEvents`: a `UUIDv7` tells its time, too.
    #[serde(default)]
    time: Option<DateTime<Utc>>,
    #[serde(default, borrow)]
    datacontenttype: Cow<'a, str>,
    #[serde(default, borrow)]
    dataschema: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlationid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causationid: Option<Uuid>,
    /// `CloudEvents` integers have 32 bits.
    aggregateversion: i32,
    data: D,
}

impl<E: EventSet> Envelope<E> {
    pub fn subject(&self) -> String {
        self.event.subject().to_string()
    }

    /// Encodes the envelope as one JSON object. The aggregate version must be within 1 and `i32::MAX`.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let row = self.event.row();
        let aggregate_version = i32::try_from(self.aggregate_version).ok().filter(|version| *version >= 1);
        let out_of_range = || {
            serde::ser::Error::custom(format!(
                "aggregate version {} is not a positive 32-bit integer",
                self.aggregate_version
            ))
        };
        serde_json::to_string(&Wire {
            specversion: "1.0".into(),
            id: self.id,
            source: source_of(row).into(),
            event_type: row.versioned_name.into(),
            subject: self.subject().into(),
            time: Some(self.time),
            datacontenttype: "application/json".into(),
            dataschema: format!("urn:events:{}", row.versioned_name).into(),
            traceparent: self.trace.traceparent.clone(),
            tracestate: self.trace.tracestate.clone().filter(|state| state.len() <= TRACESTATE_MAX_BYTES),
            correlationid: self.event.subject().correlation_id(),
            causationid: self.causation_id,
            aggregateversion: aggregate_version.ok_or_else(out_of_range)?,
            data: &self.event,
        })
    }
}

impl<E: EventSet> Versions<E> {
    pub fn decode_envelope(&self, body: &[u8]) -> Result<Envelope<E>, DecodeError> {
        let wire: Wire<'_, &RawValue> = strict_json::from_slice(body).map_err(DecodeError::Malformed)?;
        if wire.specversion != "1.0" {
            return Err(DecodeError::SpecVersion(wire.specversion.into_owned()));
        }
        let (name, version) = name_and_version(&wire.event_type)
            .ok_or_else(|| DecodeError::Unsupported(wire.event_type.clone().into_owned()))?;
        let event = self.decode(name, version, wire.data.get())?;
        same("source", &wire.source, &source_of(event.row()))?;
        same("subject", &wire.subject, &event.subject().to_string())?;
        if wire.aggregateversion < 1 {
            same("aggregateversion", &wire.aggregateversion.to_string(), "1 or more")?;
        }
        Ok(Envelope {
            id: wire.id,
            time: wire.time.or_else(|| time_of(wire.id)).ok_or_else(no_time)?,
            causation_id: wire.causationid,
            aggregate_version: wire.aggregateversion.into(),
            trace: TraceContext::of_foreign(wire.traceparent, wire.tracestate),
            event,
        })
    }
}

/// The time in a `UUIDv7` (RFC 9562, section 5.7), in milliseconds.
fn time_of(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = id.get_timestamp().filter(|_| id.get_version_num() == 7)?.to_unix();
    DateTime::from_timestamp(seconds.try_into().ok()?, nanoseconds)
}

fn no_time() -> DecodeError {
    let (found, expected) = ("nothing".to_owned(), "a time, or an id that is a UUIDv7".to_owned());
    DecodeError::Contradiction { attribute: "time", found, expected }
}

/// `order.placed.v1` is version 1 of `order.placed`.
fn name_and_version(event_type: &str) -> Option<(&str, u32)> {
    let (name, version) = event_type.rsplit_once(".v")?;
    Some((name, version.parse().ok()?))
}

fn source_of(row: &Row) -> String {
    format!("/services/{}", row.owner)
}

fn same(attribute: &'static str, found: &str, expected: &str) -> Result<(), DecodeError> {
    if found == expected {
        return Ok(());
    }
    Err(DecodeError::Contradiction { attribute, found: found.to_owned(), expected: expected.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        samples::samples,
        table::{Event, EventType},
    };

    fn body_with(attribute: &str, value: Value) -> Vec<u8> {
        let sample = samples().remove(1).to_json().expect("encodes");
        let mut json: Value = serde_json::from_str(&sample).expect("is JSON");
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
        check(
            &body_with("type", "order.placed.v9".into()),
            "event type \"order.placed.v9\" is not supported by this build",
        );
        check(&body_with("data", json!({"order_id": 7})), "the data is not that of order.placed.v1");
        check(
            &body_with("source", "/services/payment".into()),
            "source is \"/services/payment\" but should be \"/services/order\"",
        );
        assert!(Envelope::from_json(&body_with("subject", "elsewhere".into())).is_err());
        check(&body_with("aggregateversion", "1".into()), "not a CloudEvents envelope");
        check(
            &body_with("aggregateversion", 0.into()),
            "aggregateversion is \"0\" but should be \"1 or more\"",
        );
    }

    #[test]
    fn an_array_is_no_envelope_no_data_and_no_part_of_either() {
        let sample: Value = serde_json::from_slice(&body_with("specversion", "1.0".into())).expect("is JSON");
        let at = |names: &[&str]| names.iter().map(|name| sample[*name].clone()).collect::<Value>();
        let envelope = at(&[
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
            "traceparent",
            "tracestate",
            "correlationid",
            "causationid",
            "aggregateversion",
            "data",
        ]);
        let error = Envelope::from_json(envelope.to_string().as_bytes()).expect_err("by position");
        assert!(matches!(error, DecodeError::Malformed(_)), "{error}");

        let [order_id, customer, lines, total, method] =
            ["order_id", "customer", "lines", "total", "payment_method"].map(|name| &sample["data"][name]);
        for (part, members) in [
            ("/data", json!([order_id, customer, lines, total, method])),
            ("/data/customer", json!(["customer-1", "ada@example.com"])),
            ("/data/lines/0", json!(["ESPRESSO-1KG", 2, total])),
            ("/data/lines/0/unit_price", json!([1250, "EUR"])),
            ("/data/total", json!([2500, "EUR"])),
        ] {
            let mut body = sample.clone();
            *body.pointer_mut(part).expect(part) = members;
            let error = Envelope::from_json(body.to_string().as_bytes()).expect_err(part);
            assert!(matches!(error, DecodeError::Data(..)), "{part}: {error}");
        }
    }

    #[test]
    fn an_id_in_another_spelling_is_the_same_id() {
        let sample = samples().remove(1);
        for (attribute, id) in [("id", sample.id), ("data", sample.event.order_id().expect("an order").0)] {
            let other = [id.simple().to_string(), id.braced().to_string(), id.urn().to_string()];
            for text in other.into_iter().chain([id.to_string().to_uppercase()]) {
                let mut body: Value =
                    serde_json::from_slice(&body_with("specversion", "1.0".into())).expect("is JSON");
                let member =
                    if attribute == "data" { &mut body["data"]["order_id"] } else { &mut body["id"] };
                *member = text.as_str().into();
                let decoded = Envelope::from_json(body.to_string().as_bytes()).expect(&text);
                assert_eq!(decoded, sample, "{attribute}: {text}");
            }
        }
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

    #[test]
    fn foreign_text_that_is_no_trace_is_dropped() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |traceparent: &str, tracestate: &str| {
            TraceContext::of_foreign(Some(traceparent.to_owned()), Some(tracestate.to_owned()))
        };
        let valid = of(parent, "vendor=one");
        assert_eq!(valid.traceparent.as_deref(), Some(parent));
        assert_eq!(valid.tracestate.as_deref(), Some("vendor=one"));
        for state in ["a=b\r\nX: 1", "a=\0", "a=\u{e9}", &"x".repeat(513)] {
            let kept = of(parent, state);
            assert_eq!((kept.traceparent.as_deref(), kept.tracestate), (Some(parent), None), "{state:?}");
        }
        for bad in ["", "00", &parent.to_uppercase(), &parent.replace('-', "\0"), &format!("{parent}0")] {
            assert_eq!(of(bad, "vendor=one"), TraceContext::default(), "{bad:?}");
        }
    }

    #[test]
    fn optional_attributes_may_be_missing() {
        let sample = samples().remove(1);
        let mut json: Value = serde_json::from_str(&sample.to_json().expect("encodes")).expect("is JSON");
        let id = "01a1fe4c-0000-7000-8000-000000000001";
        json["id"] = id.into();
        for attribute in ["time", "datacontenttype", "dataschema"] {
            json.as_object_mut().expect("an object").remove(attribute);
        }
        let versions = Versions::<Event>::default();
        let decoded = versions.decode_envelope(json.to_string().as_bytes()).expect("it is an envelope");
        assert_eq!(decoded.event, sample.event);
        assert_eq!(decoded.time.timestamp_millis(), 0x01a1_fe4c_0000, "the time of its id");
        json["id"] = "00000000-0000-4000-8000-000000000001".into();
        let error = versions.decode_envelope(json.to_string().as_bytes()).expect_err("no time anywhere");
        assert!(error.to_string().contains("time"), "{error}");
    }
}
