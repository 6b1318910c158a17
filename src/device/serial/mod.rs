//! Serial ports: one task owns one port and is the only master on it.
//!
//! [`bus`] is the discipline of the line, [`schedule`] what is asked and when, [`port`] the task that does the I/O,
//! [`counters`] what it leaves behind. The first two are pure.

pub mod bus;
pub mod counters;
pub mod port;
pub mod schedule;

pub use counters::Counters;
pub use port::serve;

use std::time::Duration;

use crate::codec::modbus::{RegisterKind, Table};
use crate::model::{DeviceId, SeriesKey};

/// One port and everything on it.
#[derive(Clone, Debug, PartialEq)]
pub struct PortSettings {
    /// Its name in logs and metrics.
    pub name: String,
    /// A stable path: /dev/serial/by-id/…
    pub path: String,
    /// Bits a second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// From the last byte sent to the first byte received.
    pub response_timeout: Duration,
    /// Silence before each request; at least 3.5 characters.
    pub silence: Duration,
    /// Whether the adapter hears itself.
    pub echo: bool,
    /// The devices.
    pub slaves: Vec<Slave>,
}

/// Parity of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// None.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

/// One Modbus slave.
#[derive(Clone, Debug, PartialEq)]
pub struct Slave {
    /// The device.
    pub device: DeviceId,
    /// Address 1 to 247.
    pub unit: u8,
    /// What to read.
    pub points: Vec<Point>,
}

/// One point of a slave.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where its samples go.
    pub series: SeriesKey,
    /// Which table.
    pub table: Table,
    /// Address on the wire, from 0.
    pub address: u16,
    /// How its registers are read.
    pub kind: RegisterKind,
    /// Raw register patterns that mean "no value".
    pub absent: Vec<u64>,
    /// How often.
    pub period: Duration,
}
