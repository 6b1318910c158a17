//! Serial ports: one task owns one port and is the only master on it, whatever its meters speak.
//!
//! [`line`] is how a port is set, [`question`] what goes out and what comes back, [`bus`] the discipline of asking one
//! question, [`exchange`] the questions that make one reading, [`schedule`] what is asked and when, [`master`] these
//! together, [`port`] the task that does the I/O, [`counters`] what it leaves behind. All but the last two are pure, and so is
//! [`scan`], which finds out who is on a bus.

pub mod bus;
pub mod counters;
pub mod exchange;
pub mod line;
pub mod master;
pub mod point;
pub mod port;
pub mod protocol;
pub mod question;
pub mod scan;
pub mod schedule;
pub mod write;

use std::time::Duration;

use rust_decimal::Decimal;

pub use counters::Counters;
pub use line::{Line, Parity, Timing};
pub use port::{Desk, serve};
pub use protocol::Protocol;

use crate::codec::cjt188::{IdentifierOrder, UnitPlace};
use crate::codec::modbus::{RegisterKind, Table};
use crate::codec::{cjt188, dlt645, mbus};
use crate::model::{DeviceId, SeriesKey};

/// One port and everything on it.
#[derive(Clone, Debug, PartialEq)]
pub struct PortSettings {
    /// Its name in logs and metrics.
    pub name: String,
    /// A stable path: /dev/serial/by-id/…
    pub path: String,
    /// How it is set when it is opened; each meter has its own line.
    pub line: Line,
    /// Whether the adapter hears itself.
    pub echo: bool,
    /// Whether the DL/T 645 meters are told the time once a day.
    pub set_clocks: bool,
    /// The zone of the meters' clocks: milliseconds east of UTC.
    pub zone_ms: i64,
    /// The meters.
    pub meters: Vec<Meter>,
}

/// One meter, slave or sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// The device.
    pub device: DeviceId,
    /// What it speaks, and its address.
    pub address: Address,
    /// How the line is set for it.
    pub line: Line,
    /// Its times.
    pub timing: Timing,
    /// Whether its clock is read now and then, to tell when it is wrong (DL/T 645).
    pub watch_clock: bool,
    /// What to read.
    pub points: Vec<Point>,
}

/// A protocol, and an address in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Modbus RTU: unit 1 to 247.
    Modbus(u8),
    /// DL/T 645; the edition is that of the identifiers asked for.
    Dlt645(dlt645::Address),
    /// CJ/T 188.
    Cjt188(Cjt188),
    /// M-Bus.
    Mbus(mbus::Address),
}

impl Address {
    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Modbus(_) => Protocol::Modbus,
            Self::Dlt645(_) => Protocol::Dlt645,
            Self::Cjt188(_) => Protocol::Cjt188,
            Self::Mbus(_) => Protocol::Mbus,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Modbus(unit) => unit.fmt(f),
            Self::Dlt645(address) => address.fmt(f),
            Self::Cjt188(meter) => meter.address.fmt(f),
            Self::Mbus(address) => address.fmt(f),
        }
    }
}

/// A CJ/T 188 meter and its habits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cjt188 {
    /// The address.
    pub address: cjt188::Address,
    /// Type byte T, AA for any.
    pub kind: u8,
    /// Order of the identifier's bytes in a question; none is 90 1F first, and the other after silences.
    pub order: Option<IdentifierOrder>,
    /// Where units stand.
    pub unit: UnitPlace,
    /// Whether it does not repeat the serial number of a question.
    pub any_ser: bool,
    /// FE bytes before a question, to wake it.
    pub leader: u8,
}

/// One point of a meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Where its samples go.
    pub series: SeriesKey,
    /// Where the meter has it.
    pub source: Source,
    /// Unit of the sample; what the meter sends in another unit of the same quantity is converted. Empty takes any.
    pub unit: String,
    /// How often.
    pub period: Duration,
    /// Whether it is read by itself; else only when somebody asks for it.
    pub polled: bool,
    /// Whether, and within what, it may be written.
    pub writable: Option<Writable>,
}

/// Where a meter has a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// In registers or bits.
    Modbus {
        /** Which table. */
        table: Table,
        /** Address on the wire, from 0. */
        address: u16,
        /** How its registers are read. */
        kind: RegisterKind,
        /** Raw register patterns that mean "no value". */
        absent: Vec<u64>,
    },
    /// Among the items of an identifier; none takes the only one.
    Dlt645 {
        /** The identifier. */
        identifier: dlt645::Identifier,
        /** The item's name. */
        item: Option<String>,
    },
    /// Among the items of an identifier.
    Cjt188 {
        /** The identifier. */
        identifier: cjt188::Identifier,
        /** The item's name. */
        item: String,
    },
    /// Among the records of the meter.
    Mbus {
        /** The item's name. */
        item: String,
    },
}

/// What a write has to keep to: `reading = sample × scale + offset`, and the reading within the limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Writable {
    /// Smallest reading that may be written.
    pub min: Decimal,
    /// Largest.
    pub max: Decimal,
    /// Factor of the point.
    pub scale: Decimal,
    /// Offset of the point.
    pub offset: Decimal,
}
