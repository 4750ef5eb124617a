//! Any text as a cursor: one that is read is written as a cursor that says the same.
#![no_main]

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use http_api::page::Cursor;
use uuid::Uuid;

fuzz_target!(|text: &str| match text.parse::<Cursor<(DateTime<Utc>, Uuid)>>() {
    Ok(cursor) => assert_eq!(cursor.to_string().parse(), Ok(cursor)),
    Err(reason) => assert!(!reason.is_empty()),
});
