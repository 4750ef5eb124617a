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

/// `.dockerignore` lists what the build reads: a folder of the workspace that it leaves out breaks every image.
#[test]
fn every_folder_of_the_workspace_is_in_the_build_context() {
    let read = |file: &str| fs::read_to_string(format!("{ROOT}/{file}")).expect(file);
    let (manifest, context) = (read("Cargo.toml"), read(".dockerignore"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).expect("members");
    let folders: Vec<_> = members.split('"').filter_map(|member| member.strip_suffix("/*")).collect();
    assert!(folders.contains(&"services"), "{folders:?}");
    let is_missing = |folder: &&&str| !context.lines().any(|line| line.strip_prefix('!') == Some(**folder));
    let missing: Vec<_> = folders.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "list them in .dockerignore: {missing:?}");
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
