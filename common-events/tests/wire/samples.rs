//! Frozen events of each version, which are on topics for ever. `original` has those of the system that this one replaces.
//! Version 0.1.0 wrote the events of 0.2.0 letter for letter, without `owner`.

use common_events::{Envelope, Event};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Returns the files with the samples of a version.
fn files(version: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(version).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn events_of_every_version_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut count = 0;
    for version in files(&folder) {
        for file in files(&version) {
            let text = std::fs::read_to_string(&file).unwrap();
            let event = Envelope::from_json(text.as_bytes());
            let event = event.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_ne!(event.event, Event::Unknown, "{}", file.display());
            assert_eq!(file.file_stem().unwrap(), event.event.event_type());
            if !version.ends_with("original") {
                // No field that was ever sent is forgotten.
                let (sent, read): (Value, Value) = (
                    serde_json::from_str(&text).unwrap(),
                    serde_json::from_str(&event.to_json()).unwrap(),
                );
                for (field, value) in sent.as_object().unwrap() {
                    assert_eq!(&read[field], value, "{}: {field}", file.display());
                }
            }
            count += 1;
        }
    }
    assert!(count >= Event::TYPES.len() + 6, "only {count} samples were found");
}

#[test]
fn this_version_writes_its_samples_to_the_letter() {
    let version =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(env!("CARGO_PKG_VERSION"));
    for file in files(&version) {
        let text = std::fs::read_to_string(&file).unwrap();
        let event = Envelope::from_json(text.as_bytes()).unwrap();
        assert_eq!(event.to_json(), text.trim_end(), "{}", file.display());
    }
}
