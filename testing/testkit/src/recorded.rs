//! Recorded data: a real repository's issues and pull requests, never needed and never committed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use gharvest_model::{Kind, Record};
use serde_json::Value;

/// The folder of a recorded repository in github-metadata-backup's layout (`issues/N.json`, `pulls/N.json`).
///
/// Looked for in what `GHARVEST_TEST_DATA` names, then in `shared/data` beside the checkout: the folder itself, a folder
/// in it, or one archive (`*.tar.xz`) in it, which is unpacked once into the target folder. Recorded data is never
/// needed: every test that uses it has a generated twin, so this skip holds in CI as well.
///
/// # Panics
/// If an archive is there and cannot be unpacked.
pub fn recorded_data(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [std::env::var_os("GHARVEST_TEST_DATA").map(PathBuf::from), Some(root.join("../shared/data"))];
    let found = places.into_iter().flatten().find_map(|place| in_folder(&place, &root.join("target/recorded")));
    if found.is_none() {
        eprintln!("skipped: {test}: no recorded data, set GHARVEST_TEST_DATA to a folder with issues/ and pulls/");
    }
    found
}

/// The records of recorded data, by number: what `empty` gives of a kind, with what the files say.
///
/// # Panics
/// If a file cannot be read, or is none of the recording's.
pub fn recorded_records(folder: &Path, empty: impl Fn(Kind) -> Record) -> Vec<Record> {
    let mut records = Vec::new();
    for (sub, kind) in [("issues", Kind::Issue), ("pulls", Kind::PullRequest)] {
        for entry in std::fs::read_dir(folder.join(sub)).expect("the recording has this folder") {
            let bytes = std::fs::read(entry.expect("it can be listed").path()).expect("it can be read");
            let mut value: Value = serde_json::from_slice(&bytes).expect("it is JSON");
            let mut record = empty(kind);
            record.issue = Some(value["issue"].take()).filter(Value::is_object);
            record.pull = Some(value["pull"].take()).filter(Value::is_object);
            record.timeline = value["events"].as_array().cloned().unwrap_or_default();
            record.review_comments = value["comments"].as_array().cloned().unwrap_or_default();
            record.number = record.core().expect("it is an item")["number"].as_u64().expect("it has a number");
            records.push(record);
        }
    }
    records.sort_by_key(|record| record.number);
    records
}

fn in_folder(folder: &Path, unpacked: &Path) -> Option<PathBuf> {
    if is_recording(folder) {
        return Some(folder.to_owned());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    if let Some(inner) = entries.iter().find(|entry| is_recording(entry)) {
        return Some(inner.clone());
    }
    let archive = entries.iter().find(|entry| entry.to_string_lossy().ends_with(".tar.xz"))?;
    let name = archive.file_name().expect("it was listed by name").to_string_lossy();
    let target = unpacked.join(name.trim_end_matches(".tar.xz"));
    if !target.is_dir() {
        unpack(archive, unpacked, &target);
    }
    in_folder(&target, &target)
}

fn is_recording(folder: &Path) -> bool {
    folder.join("issues").is_dir() && folder.join("pulls").is_dir()
}

/// Tests of several processes may unpack at once: each does it aside, and the first one's folder stays.
fn unpack(archive: &Path, parent: &Path, target: &Path) {
    std::fs::create_dir_all(parent).expect("the target folder can be written");
    let aside = tempfile::tempdir_in(parent).expect("the target folder can be written");
    let status = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(aside.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "tar cannot unpack {}", archive.display());
    let moved = std::fs::rename(aside.path(), target);
    assert!(moved.is_ok() || target.is_dir(), "{} cannot be put in place: {moved:?}", target.display());
}
