//! Tests that need something which is not here are skipped by name; in CI that is a failure.

use std::io::Write;

/// Says that a test is skipped and why. The test returns afterwards.
///
/// # Panics
/// With `CI=true`: there everything has to be had.
pub fn skip(test: &str, reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} cannot be skipped in CI: {reason}");
    say(test, reason);
}

/// The same of what CI need not have either.
pub(crate) fn say(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    let Some(path) = std::env::var_os("GHARVEST_TEST_SKIPS") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        // One write a line, so that lines of several processes do not mix.
        let line = format!("skipped: {test}: {reason}\n");
        drop(file.write_all(line.as_bytes()));
    }
}
