//! See `tests/fuzz/targets/mbus.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::mbus::run(input));
