//! See `tests/fuzz/targets/decode.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::decode::run(input));
