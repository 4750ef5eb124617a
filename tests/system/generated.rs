//! Generated files are as `sagactl generate` writes them, and every golden sample still decodes.

use std::fs;
use std::path::{Path, PathBuf};

use contracts::{Envelope, EventType};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn no_generated_file_has_drifted() {
    let drifted = ctl::generate::drifted(Path::new(ROOT)).expect("the files can be made");
    let names: Vec<PathBuf> = drifted.into_iter().map(|(path, _)| path).collect();
    assert!(names.is_empty(), "run `cargo run -p ctl -- generate`, then look at what changed in: {names:?}");
}

#[test]
fn every_golden_sample_decodes() {
    let samples: Vec<PathBuf> = fs::read_dir(format!("{ROOT}/crates/contracts/samples"))
        .expect("samples")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    for sample in &samples {
        let body = fs::read(sample).expect("readable");
        let envelope = Envelope::from_json(&body)
            .unwrap_or_else(|error| panic!("{} must decode for ever: {error}", sample.display()));
        let name = envelope.event.event_type().row().versioned_name;
        // An older version is read as the newest by its upcaster: only the name must be the same.
        let unversioned = name.rsplit_once('.').expect("a version").0;
        let file = sample.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(file.starts_with(unversioned), "{file} holds {name}");
    }
    for event in EventType::ALL {
        let newest = format!("{}.json", event.row().versioned_name);
        assert!(
            samples.iter().any(|sample| sample.ends_with(&newest)),
            "run `sagactl generate`: no {newest}"
        );
    }
}
