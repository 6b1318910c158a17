//! See `tests/fuzz/targets/bus.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::bus::run(input));
