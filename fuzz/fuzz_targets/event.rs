//! Any text as the data of any event, which the first byte chooses: what is decoded encodes again to the same meaning.
#![no_main]

use contracts::{Event, EventType, Versions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, data)) = input.split_first() else { return };
    let Ok(data) = std::str::from_utf8(data) else { return };
    let event_type = EventType::ALL[usize::from(*choice) % EventType::ALL.len()];
    let row = event_type.row();
    let decode = |data: &str| Versions::<Event>::current().decode(row.name, row.version, data);
    if let Ok(event) = decode(data) {
        assert_eq!(event.event_type(), event_type);
        let again = serde_json::to_string(&event).expect("what was decoded encodes");
        assert_eq!(decode(&again).expect(&again), event);
    }
});
