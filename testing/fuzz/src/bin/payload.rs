//! libFuzzer on bodies of webhooks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    gharvest_fuzz::payload::check(input);
});
