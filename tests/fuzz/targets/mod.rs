//! What is run on any bytes: one function for each codec, one for the bus, one for `decode`.
//!
//! A function returns, or it panics because a promise does not hold. Every one of them judges by an oracle of its own,
//! written from the bytes: what a checksum is, which frame answers which question, which digits make which number.
//! libFuzzer runs them (`fuzz_targets/`), and `tests/fuzz.rs` does.

pub mod bus;
pub mod cjt188;
pub mod decode;
pub mod dlt645;
pub mod feed;
pub mod json;
pub mod mbus;
pub mod modbus;

/// The name of a libFuzzer target, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("bus", bus::run),
    ("cjt188", cjt188::run),
    ("decode", decode::run),
    ("dlt645", dlt645::run),
    ("json", json::run),
    ("mbus", mbus::run),
    ("modbus", modbus::run),
];
