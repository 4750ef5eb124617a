//! A table of another system, declared outside of this crate.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test a failure is a panic")]

use contracts::{DecodeError, Envelope, EventSet, TraceContext, Versions};
use uuid::Uuid;

contracts::messages! {
    Happening, HappeningType;

    /// A parcel left the house.
    ParcelSent = "parcel.sent" version 2 (reads 1 with parcel_sent_v1), owner "dispatch", subject parcel_id {
        parcel_id: Uuid,
        weight_grams: u32,
    }

    /// Nobody was at home.
    ParcelReturned = "parcel.returned" version 1, owner "carrier", subject parcel_id, record_only {
        parcel_id: Uuid,
    }
}

fn parcel_sent_v1(data: &str) -> serde_json::Result<Happening> {
    #[derive(serde::Deserialize)]
    struct V1 {
        parcel_id: Uuid,
        weight_kg: u32,
    }
    let V1 { parcel_id, weight_kg } = strict_json::from_str(data)?;
    Ok(ParcelSent { parcel_id, weight_grams: weight_kg * 1000 }.into())
}

fn sent() -> Envelope<Happening> {
    Envelope {
        id: Uuid::from_u128(1),
        time: chrono::DateTime::UNIX_EPOCH,
        causation_id: None,
        aggregate_version: 1,
        trace: TraceContext::default(),
        event: ParcelSent { parcel_id: Uuid::from_u128(2), weight_grams: 3000 }.into(),
    }
}

fn body() -> serde_json::Value {
    serde_json::from_str(&sent().to_json().expect("encodes")).expect("is JSON")
}

fn decode(
    versions: &Versions<Happening>,
    body: &serde_json::Value,
) -> Result<Envelope<Happening>, DecodeError> {
    versions.decode_envelope(body.to_string().as_bytes())
}

#[test]
fn attributes_come_from_the_row() {
    let body = body();
    assert_eq!(body["type"], "parcel.sent.v2");
    assert_eq!(body["source"], "/services/dispatch");
    assert_eq!(body["subject"], Uuid::from_u128(2).to_string());
    assert_eq!(body["correlationid"], body["subject"]);
    assert_eq!(body["aggregateversion"], 1);
    assert!(HappeningType::ParcelReturned.row().record_only && !HappeningType::ParcelSent.row().record_only);
    assert_eq!("parcel.returned".parse(), Ok(HappeningType::ParcelReturned));
}

#[test]
fn an_earlier_version_reads_as_the_current_one() {
    let mut body = body();
    body["type"] = "parcel.sent.v1".into();
    body["data"] = serde_json::json!({"parcel_id": Uuid::from_u128(2), "weight_kg": 3});
    assert_eq!(decode(&Versions::current(), &body).expect("decodes"), sent());
}

#[test]
fn a_later_version_is_unsupported_until_the_table_knows_it() {
    let mut body = body();
    body["type"] = "parcel.sent.v3".into();
    body["data"] = serde_json::json!({"parcel": Uuid::from_u128(2), "weight": "3 kg"});
    let unknown = decode(&Versions::current(), &body).expect_err("v3 is unknown");
    assert!(matches!(unknown, DecodeError::Unsupported(name) if name == "parcel.sent.v3"));

    let extended = Versions::current().with("parcel.sent", 3, |data| {
        let data: serde_json::Value = serde_json::from_str(data)?;
        let parcel_id = serde_json::from_value(data["parcel"].clone())?;
        Ok(ParcelSent { parcel_id, weight_grams: 3000 }.into())
    });
    assert_eq!(decode(&extended, &body).expect("decodes"), sent());
    body["data"] = serde_json::json!({});
    assert!(matches!(decode(&extended, &body), Err(DecodeError::Data(..))));
}

#[test]
fn a_name_without_version_or_of_another_table_is_unsupported() {
    for name in ["parcel.sent", "order.placed.v1", "parcel.sent.vx", ""] {
        let mut body = body();
        body["type"] = name.into();
        assert!(matches!(decode(&Versions::current(), &body), Err(DecodeError::Unsupported(_))), "{name}");
    }
}

#[test]
fn a_long_tracestate_is_dropped() {
    let encoded = |length: usize| {
        let trace = TraceContext { traceparent: None, tracestate: Some("x".repeat(length)) };
        Envelope { trace, ..sent() }.to_json().expect("encodes").contains("tracestate")
    };
    assert!(encoded(512) && !encoded(513));
}

#[test]
fn an_aggregate_version_that_cannot_be_written_is_refused() {
    for aggregate_version in [0, -1, 1 << 31] {
        assert!(Envelope { aggregate_version, ..sent() }.to_json().is_err(), "{aggregate_version}");
    }
}

#[test]
fn every_event_of_the_trait_knows_its_row() {
    assert_eq!(sent().event.row(), HappeningType::ParcelSent.row());
}
