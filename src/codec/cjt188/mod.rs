//! CJ/T 188-2004: water, gas and heat meters, reading.
//!
//! The text of the standard was not at hand: what stands here agrees across implementations and captured frames.
//! Guarantees: no panic on any bytes; a frame is only what has a known type, digits for an address, a possible length, the
//! right checksum and the end byte; an answer is only what has the address, the function, the identifier and (where the
//! meter keeps to it) the serial number of its question; a value is exact or none. What reads cannot write: the one write,
//! a valve's, is a type of its own.

use std::fmt;
use std::str::FromStr;

use super::bcd::{self, NameError};

mod frame;
mod items;
mod request;

pub use frame::{
    DATA_BYTES_MAX, FRAME_BYTES_MAX, Fault, Frame, LEADER_BYTES_MAX, examine, function, is_kind, scan,
};
pub use items::{ItemError, Reading, Sent, Status, Valve, item_names, items, looks_unit_first};
pub use request::{Answer, LEADER, LEADER_MAX, Refusal, Request, ValveCommand};

/// The type byte that stands for any meter.
pub const ANY_KIND: u8 = 0xAA;

/// An address of fourteen digits.
pub type Address = bcd::Address<7>;

/// A data identifier, as manuals write it: `901f` is the present reading.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(pub u16);

impl Identifier {
    /// The present reading, 901F.
    pub const READING: Self = Self(0x901F);
    /// The meter's address, 810A.
    pub const ADDRESS: Self = Self(0x810A);
    /// The version of the meter's key, 8106.
    pub const KEY_VERSION: Self = Self(0x8106);
    /// The valve, A017; only written.
    pub const VALVE: Self = Self(0xA017);

    /// As it goes over the wire.
    #[must_use]
    pub fn wire(self, order: IdentifierOrder) -> [u8; 2] {
        match order {
            IdentifierOrder::HighFirst => self.0.to_be_bytes(),
            IdentifierOrder::LowFirst => self.0.to_le_bytes(),
        }
    }

    /// From a frame whose question is not known: the high byte is the one that identifiers begin with (90 and D1 read data,
    /// 81 reads parameters, A0 writes), and the first one when neither is.
    #[must_use]
    pub fn from_wire(bytes: [u8; 2]) -> (Self, IdentifierOrder) {
        let begins = |byte: u8| matches!(byte, 0x81 | 0x90 | 0xA0 | 0xD1);
        if begins(bytes[1]) && !begins(bytes[0]) {
            (Self(u16::from_le_bytes(bytes)), IdentifierOrder::LowFirst)
        } else {
            (Self(u16::from_be_bytes(bytes)), IdentifierOrder::HighFirst)
        }
    }
}

impl FromStr for Identifier {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = u16::from_str_radix(text, 16).ok().filter(|_| text.len() == 4 && !text.starts_with('+'));
        number.map(Self).ok_or_else(|| {
            let rule = "4 hexadecimal digits: \"901f\" is the present reading, \"d120\" last month's";
            NameError::new("data identifier", text, rule)
        })
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({self})")
    }
}

/// In which order the bytes of an identifier go over the wire; both occur, and the checksum cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdentifierOrder {
    /// 90 1F.
    HighFirst,
    /// 1F 90.
    LowFirst,
}

impl IdentifierOrder {
    /// The one to try when this one gets no answer.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::HighFirst => Self::LowFirst,
            Self::LowFirst => Self::HighFirst,
        }
    }
}

/// Where the unit of a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitPlace {
    /// After the value, as the standard has it.
    Behind,
    /// Before the value, as some heat meters have it.
    InFront,
}

#[cfg(test)]
mod tests;
