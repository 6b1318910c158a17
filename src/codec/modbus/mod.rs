//! Modbus RTU: questions (FC 1 to 4, 7, 17, 43/14), writes (FC 5, 6, 16), frames of either direction, register types.
//!
//! Sources: Modbus Application Protocol V1.1b3 (clause numbers below) and Modbus over Serial Line V1.02. Guarantees: no
//! panic on any bytes; a frame is only what has the right length and the right CRC; an answer is only what has the unit,
//! the function and the byte count of its question. Frames are told apart by length, not by silence, because user space
//! cannot measure 1.5 characters.

mod exception;
mod frame;
mod inquiry;
mod register;
mod request;
mod write;

pub use exception::Exception;
pub use frame::{Body, Direction, FRAME_BYTES_MAX, Fault, Frame, Objects, examine, scan};
pub use inquiry::{Finding, IDENTITY_BYTES_MAX, Identity, Inquiry, Server};
pub use register::{KindError, Order, RegisterKind};
pub use request::Request;
pub use write::{Write, Written};

/// The four tables of a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// FC 1.
    Coil,
    /// FC 2.
    Discrete,
    /// FC 3.
    Holding,
    /// FC 4.
    Input,
}

impl Table {
    /// The function that reads it (V1.1b3 §6.1 to §6.4).
    #[must_use]
    pub fn function(self) -> u8 {
        match self {
            Table::Coil => 1,
            Table::Discrete => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Whether its items are single bits and not registers.
    #[must_use]
    pub fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::Discrete)
    }

    /// The most items one question may ask for.
    #[must_use]
    pub fn count_max(self) -> u16 {
        if self.is_bits() { 2000 } else { 125 }
    }
}

/// CRC-16 of Modbus over Serial Line V1.02 §6.2.2; on the wire the low byte goes first.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from((crc as u8) ^ byte)])
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// `content` with its checksum.
fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let crc = crc16(&content);
    content.extend(crc.to_le_bytes());
    content
}

/// The address of one slave.
fn one_slave(unit: u8) -> Result<u8, RequestError> {
    if (1..=247).contains(&unit) { Ok(unit) } else { Err(RequestError::Unit(unit)) }
}

/// `count` items from `start`, of which a frame takes so many.
fn possible(start: u16, count: usize, max: u16) -> Result<u16, RequestError> {
    let fits = u16::try_from(count).ok().filter(|count| (1..=max).contains(count));
    let count = fits.ok_or(RequestError::Count { count, max })?;
    start.checked_add(count - 1).ok_or(RequestError::Range { start, count })?;
    Ok(count)
}

/// A question that no slave can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not the address of one slave.
    #[error("unit {0}: slaves have addresses 1 to 247")]
    Unit(u8),
    /// None, or more than fit into an answer.
    #[error("count {count}: 1 to {max} items fit into one frame")]
    Count {
        /** Asked. */
        count: usize,
        /** Possible. */
        max: u16,
    },
    /// Beyond the last address.
    #[error("{count} items from address {start}: the last address is 65535")]
    Range {
        /** First. */
        start: u16,
        /** How many. */
        count: u16,
    },
}
