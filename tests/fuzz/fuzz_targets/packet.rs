//! See `tests/fuzz/targets/packet.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| smallbrain_fuzz::packet::run(input));
