//! What is run on any bytes: one function for each codec, one for the bus, one for `decode`; of MQTT one each for packets,
//! topics, profiles and the exchange.
//!
//! A function returns, or it panics because a promise does not hold. Every one of them judges by an oracle of its own,
//! written from the bytes: what a checksum is, which frame answers which question, which digits make which number.
//! libFuzzer runs them (`fuzz_targets/`), and `tests/fuzz.rs` does.

pub mod bus;
pub mod cjt188;
pub mod decode;
pub mod dlt645;
pub mod exchange;
pub mod feed;
pub mod json;
pub mod mbus;
pub mod modbus;
pub mod packet;
pub mod profile;
pub mod topic;

/// The name of a libFuzzer target, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 11] = [
    ("bus", bus::run),
    ("cjt188", cjt188::run),
    ("decode", decode::run),
    ("dlt645", dlt645::run),
    ("exchange", exchange::run),
    ("json", json::run),
    ("mbus", mbus::run),
    ("modbus", modbus::run),
    ("packet", packet::run),
    ("profile", profile::run),
    ("topic", topic::run),
];
