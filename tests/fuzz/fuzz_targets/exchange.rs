//! See `tests/fuzz/targets/exchange.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::exchange::run(input));
