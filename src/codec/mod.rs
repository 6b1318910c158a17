//! Decoders that take bytes and give values: no I/O, no clock, no panic on any input.

pub mod json;
pub mod modbus;
