//! What must hold for anything that strangers send, whoever makes it up.
//!
//! Each module is a target: promises about one way in, asserted for any bytes. Two fuzzers try them. Every run of the
//! tests bends the seeds at random, on any toolchain; `scripts/fuzz` lets libFuzzer look for inputs that reach new code,
//! for as long as one likes, and keeps what it found in the target folder.

pub mod payload;
