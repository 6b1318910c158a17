//! See `tests/fuzz/targets/cjt188.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::cjt188::run(input));
