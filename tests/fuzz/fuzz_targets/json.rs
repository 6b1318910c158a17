//! See `tests/fuzz/targets/json.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::json::run(input));
