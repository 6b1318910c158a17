//! See `tests/fuzz/targets/modbus.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::modbus::run(input));
