//! See `tests/fuzz/targets/topic.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::topic::run(input));
