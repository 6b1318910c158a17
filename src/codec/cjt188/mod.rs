//! CJ/T 188-2004: water, gas and heat meters, reading.
//!
//! The text of the standard was not at hand: what stands here agrees across implementations and captured frames.
//! Guarantees: no panic on any bytes; a frame is only what has a known type, digits for an address, a possible length, the
//! right checksum and the end byte; an answer is only what has the address, the function, the identifier and (where the
//! meter keeps to it) the serial number of its question. It writes nothing to a meter.

use std::fmt;
use std::str::FromStr;

use super::bcd::{self, NameError};

/// An address of fourteen digits.
pub type Address = bcd::Address<7>;

/// A data identifier, as manuals write it: `901f` is the present reading.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(pub u16);

impl Identifier {
    /// The present reading, 901F.
    pub const READING: Self = Self(0x901F);
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

/// Where the unit of a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitPlace {
    /// After the value, as the standard has it.
    Behind,
    /// Before the value, as some heat meters have it.
    InFront,
}
