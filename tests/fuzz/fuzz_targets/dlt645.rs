//! See `tests/fuzz/targets/dlt645.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::dlt645::run(input));
