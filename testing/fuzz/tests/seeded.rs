//! Seeds bent by a seeded mutator, in every run of the tests. `GHARVEST_FUZZ_ROUNDS` and `GHARVEST_FUZZ_SEED` make it
//! longer and another one.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::{fs, panic, path::Path};

use gharvest_fuzz::payload::{self, Seen};

/// Some seconds of a debug build.
const ROUNDS: u64 = 40_000;

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

/// Lines before a body that matter.
const LINES: &[&[u8]] = &[
    b"issues",
    b"issues form",
    b"pull_request",
    b"push",
    b"installation",
    b"installation_target",
    b"sub_issues",
    b"issue_dependencies",
    b"ping",
    b"x",
];

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// The bodies of all seeds, by their names.
fn seeds(target: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seed = |file: &std::path::PathBuf| {
        let bytes = fs::read(file).unwrap();
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        (bytes[..line].to_vec(), bytes[line + 1..].to_vec())
    };
    files.iter().map(seed).collect()
}

fn bend(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
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
}

#[test]
fn no_payload_panics_or_names_what_cannot_be() {
    let mut random = fastrand::Rng::with_seed(from_environment("GHARVEST_FUZZ_SEED", 1));
    let seeds = seeds("payload");
    let (mut read, mut refused, mut compared, mut kept) = (0_u32, 0_u32, 0_usize, 0_u32);
    for _ in 0..from_environment("GHARVEST_FUZZ_ROUNDS", ROUNDS) {
        let (line, body) = random.choice(&seeds).unwrap();
        let mut body = body.clone();
        bend(&mut random, &mut body);
        let line = if random.bool() { line } else { random.choice(LINES.iter()).copied().unwrap_or_default() };
        let input = [line, b"\n", &body].concat();
        match panic::catch_unwind(|| payload::check(&input)) {
            Ok(Seen::Refused) => refused += 1,
            Ok(Seen::Read { compared: more, kept: is_kept }) => {
                (read, compared, kept) = (read + 1, compared + more, kept + u32::from(is_kept));
            }
            Err(broken) => {
                eprintln!("the input was {:?}", String::from_utf8_lossy(&input));
                panic::resume_unwind(broken);
            }
        }
    }
    assert!(
        read > 1000 && refused > 1000 && compared > 300 && kept > 100,
        "the mutator reaches all ends: {read} read, {refused} refused, {compared} numbers compared, {kept} facts kept"
    );
}

/// What is nested so deeply that it could be kept, and not be read again where it ends.
#[test]
fn a_fact_of_any_depth_reads_back() {
    for depth in 1..=140 {
        let changes = format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
        let of = r#""repository":{"id":9,"full_name":"o/r"},"issue":{"number":4}"#;
        payload::check(format!("issues\n{{\"action\":\"edited\",{of},\"changes\":{changes}}}").as_bytes());
    }
}

#[test]
fn every_seed_is_read() {
    for (line, body) in seeds("payload") {
        let input = [&line[..], b"\n", &body].concat();
        assert!(matches!(payload::check(&input), Seen::Read { .. }), "{}", String::from_utf8_lossy(&input));
    }
}
