//! The payload path on what nobody would send: examples bent by a seeded mutator, on any toolchain and in every run of the
//! tests. `GHARVEST_FUZZ_ROUNDS` and `GHARVEST_FUZZ_SEED` make it longer and another one.
//!
//! Nothing may panic, every subject must read back as it is written, and a number that is triggered must be one that the
//! payload says at a place where numbers of items stand, as a plain JSON reader reads it.

use gharvest_model::Subject;
use gharvest_webhook_receiver::classify_bytes;
use serde_json::{Value, json};

use crate::scene::issue;

/// Some seconds of a debug build.
const ROUNDS: u64 = 40_000;

/// Where payloads name items.
const PLACES: &[&str] = &[
    "/issue/number",
    "/pull_request/number",
    "/sub_issue/number",
    "/parent_issue/number",
    "/blocked_issue/number",
    "/blocking_issue/number",
    "/number",
    "/changes/new_issue/number",
    "/changes/old_issue/number",
];

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn seeds() -> Vec<Vec<u8>> {
    let mut transferred = issue("transferred");
    transferred["changes"] = json!({"new_issue": {"number": 8}, "new_repository": {"id": 77, "full_name": "a/b"}});
    let installed = json!({"action": "added", "installation": {"account": {"login": "octo"}},
        "repositories_added": [{"id": 1, "full_name": "octo/a"}, {"id": 2, "full_name": "octo/b", "private": true}]});
    let pull = json!({"action": "closed", "number": 5, "pull_request": {"number": 5, "merged": true},
        "review": {"id": 1, "state": "approved"}, "repository": {"id": 9, "full_name": "octo/box"}});
    let push =
        json!({"ref": "refs/heads/main", "repository": {"id": 9, "full_name": "octo/box", "default_branch": "main"}});
    let dependency = json!({"action": "blocked_by_added", "blocked_issue": {"number": 3},
        "blocked_issue_repo": {"id": 9, "full_name": "octo/box"}, "blocking_issue": {"number": 6},
        "blocking_issue_repo": {"id": 77, "full_name": "a/b"}, "repository": {"id": 9, "full_name": "octo/box"}});
    let all: [Value; 6] = [issue("edited"), transferred, installed, pull, push, dependency];
    all.iter().map(|payload| payload.to_string().into_bytes()).collect()
}

/// Pieces that break parsers: numbers at every edge, broken UTF-8 and escapes, depth.
const PIECES: &[&[u8]] = &[
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e400",
    b"-0",
    b"0.1",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"\\ud800\"",
    b"\"\\u0000\"",
    b"\xff\xfe",
    b"\xc0\x80",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b",",
    b":",
    b"\"",
    b"\\",
    b"}",
    b"]",
    b"{\"number\":",
    b"\"repository\":",
    b"\"../../etc/passwd\"",
    b"\"a/b/c\"",
    b"\r\n",
    b"%00",
    b"&payload=",
];

fn bend(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..random.u32(1..6) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 => bytes.truncate(at),
            2 => {
                let piece = random.choice(PIECES.iter()).copied().unwrap_or_default();
                bytes.splice(at..at, piece.iter().copied());
            }
            3 => {
                let end = random.usize(at..=bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = random.usize(at..=bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let piece = random.choice(PIECES.iter()).copied().unwrap_or_default();
                let end = (at + random.usize(0..20)).min(bytes.len());
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn no_payload_panics_or_names_what_cannot_be() {
    let mut random = fastrand::Rng::with_seed(from_environment("GHARVEST_FUZZ_SEED", 1));
    let seeds = seeds();
    let events = [
        "issues",
        "pull_request",
        "push",
        "installation",
        "installation_target",
        "sub_issues",
        "issue_dependencies",
        "ping",
        "x",
    ];
    let (mut read, mut refused, mut compared) = (0_u32, 0_u32, 0_u32);
    for _ in 0..from_environment("GHARVEST_FUZZ_ROUNDS", ROUNDS) {
        let bytes = bend(&mut random, &seeds);
        let event = random.choice(events).unwrap_or_default();
        let form = random.u8(0..8) == 0;
        let content_type = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        match classify_bytes(event, content_type, &bytes) {
            Ok(classified) => {
                read += 1;
                for trigger in &classified.triggers {
                    let text = trigger.subject.to_string();
                    assert_eq!(text.parse().as_ref(), Ok(&trigger.subject), "{}", String::from_utf8_lossy(&bytes));
                }
                // Numbers beyond all bounds in what is passed over are the plain reader's trouble only.
                if let (false, Ok(plain)) = (form, serde_json::from_slice::<Value>(&bytes)) {
                    let said: Vec<u64> =
                        PLACES.iter().filter_map(|place| plain.pointer(place).and_then(Value::as_u64)).collect();
                    for trigger in &classified.triggers {
                        if let Subject::Item(item) = &trigger.subject {
                            compared += 1;
                            assert!(said.contains(&item.number), "{item}: {}", String::from_utf8_lossy(&bytes));
                        }
                    }
                }
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        read > 1000 && refused > 1000 && compared > 300,
        "the mutator reaches all ends: {read} read, {refused} refused, {compared} numbers compared"
    );
}
