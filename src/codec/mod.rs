//! Decoders that take bytes and give values: no I/O, no clock, no panic on any input.
//!
//! A decoder of a line protocol is one function from the received bytes to a [`Scan`]: it looks at the front only, and
//! the caller consumes what it is told to. So garbage costs one byte at a time, and no decoder keeps a buffer.

pub mod bcd;
pub mod cjt188;
pub mod dlt645;
pub mod json;
pub mod mbus;
pub mod modbus;
pub mod profile;
pub mod unit;

use std::borrow::Cow;

use crate::model::Value;

/// One named value that a meter's answer holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The name in configurations and in what `decode` prints: `forward_active_energy_total`.
    pub name: Cow<'static, str>,
    /// Exact, with the places the meter sent; none where the meter says that it has no value.
    pub value: Option<Value>,
    /// Unit as the meter sent it or as the standard fixes it: `kWh`, `m3`, `Cel`; empty where there is none.
    pub unit: &'static str,
}

/// What the front of the received bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan<F> {
    /// Perhaps the beginning of a frame: more bytes tell.
    Need,
    /// So many bytes, at least one, that belong to no frame.
    Skip(usize),
    /// A frame.
    Frame {
        /** Bytes it takes, at least one. */
        len: usize,
        /** What it says. */
        frame: F,
    },
}
