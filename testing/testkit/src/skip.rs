//! Tests that need something which is not here are skipped by name; in CI that is a failure.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Says that a test is skipped and why. The test returns afterwards.
///
/// # Panics
/// With `CI=true`: there everything has to be had.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot be skipped in CI: {reason}");
    eprintln!("skipped: {test}: {reason}");
    let Some(path) = std::env::var_os("GHARVEST_TEST_SKIPS") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        // One write a line, so that lines of several processes do not mix.
        let line = format!("skipped: {test}: {reason}\n");
        drop(file.write_all(line.as_bytes()));
    }
}

/// The folder of a recorded repository in github-metadata-backup's layout (`issues/N.json`, `pulls/N.json`).
///
/// It is what `GHARVEST_TEST_DATA` names; none if that is not set. Recorded data is never needed: every test that uses
/// it has a generated twin, so this skip holds in CI as well.
pub fn recorded_data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("GHARVEST_TEST_DATA").map(PathBuf::from);
    let found = folder.filter(|folder| Path::new(folder).join("issues").is_dir());
    if found.is_none() {
        eprintln!("skipped: {test}: no recorded data, set GHARVEST_TEST_DATA to a folder with issues/ and pulls/");
    }
    found
}
