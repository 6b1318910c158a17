//! See `tests/fuzz/targets/profile.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::profile::run(input));
