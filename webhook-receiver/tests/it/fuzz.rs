//! The payload path on what nobody would send: examples bent by a seeded mutator.
//!
//! A coverage-guided fuzzer on the same function lies in `webhook-receiver/fuzz`, outside the workspace, because it needs
//! a nightly toolchain.

use gharvest_webhook_receiver::classify_bytes;
use serde_json::{Value, json};

use crate::scene::issue;

const ROUNDS: u64 = 20_000;

fn seeds() -> Vec<Vec<u8>> {
    let mut transferred = issue("transferred");
    transferred["changes"] = json!({"new_issue": {"number": 8}, "new_repository": {"id": 77, "full_name": "a/b"}});
    let installed = json!({"action": "added", "installation": {"account": {"login": "octo"}},
        "repositories_added": [{"id": 1, "full_name": "octo/a"}, {"id": 2, "full_name": "octo/b", "private": true}]});
    let pull = json!({"action": "closed", "number": 5, "pull_request": {"number": 5, "merged": true},
        "review": {"id": 1, "state": "approved"}, "repository": {"id": 9, "full_name": "octo/box"}});
    let push =
        json!({"ref": "refs/heads/main", "repository": {"id": 9, "full_name": "octo/box", "default_branch": "main"}});
    let all: [Value; 5] = [issue("edited"), transferred, installed, pull, push];
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
    let mut random = fastrand::Rng::with_seed(1);
    let seeds = seeds();
    let events = ["issues", "pull_request", "push", "installation", "installation_target", "sub_issues", "ping", "x"];
    let (mut read, mut refused) = (0_u32, 0_u32);
    for _ in 0..ROUNDS {
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
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read > 1000 && refused > 1000, "the mutator reaches both ends: {read} read, {refused} refused");
}
