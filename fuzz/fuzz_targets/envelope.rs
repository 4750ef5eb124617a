//! Any bytes as a message: what is decoded encodes again to the same meaning, and what is refused says why.
#![no_main]

use contracts::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| match Envelope::from_json(body) {
    Ok(envelope) => {
        let again = envelope.to_json().expect("what was decoded encodes");
        assert_eq!(Envelope::from_json(again.as_bytes()).expect(&again), envelope);
    }
    Err(error) => assert!(!error.to_string().is_empty()),
});
