//! DL/T 645: electricity meters, editions 2007 and 1997, reading.
//!
//! Source: DL/T 645-2007 (clause numbers below) and DL/T 645-1997. Guarantees: no panic on any bytes; a frame is only what
//! has both start bytes, a possible length, the right checksum and the end byte; an answer is only what has the address,
//! the function and the data identifier of its question. It writes nothing to a meter.

use std::fmt;
use std::str::FromStr;

use super::bcd::{self, NameError};

/// Which edition a meter speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Edition {
    /// DL/T 645-1997: identifiers of two bytes.
    V1997,
    /// DL/T 645-2007: identifiers of four bytes.
    V2007,
}

/// An address of twelve digits.
pub type Address = bcd::Address<6>;

/// A data identifier, as manuals write it: `00010000` (2007) or `9010` (1997), most significant byte first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier {
    edition: Edition,
    number: u32,
}

impl Identifier {
    /// Of the 2007 edition: DI3 DI2 DI1 DI0.
    #[must_use]
    pub const fn v2007(number: u32) -> Self {
        Self { edition: Edition::V2007, number }
    }

    /// Of the 1997 edition: DI1 DI0.
    #[must_use]
    pub const fn v1997(number: u16) -> Self {
        Self { edition: Edition::V1997, number: number as u32 }
    }

    /// Whose it is.
    #[must_use]
    pub fn edition(self) -> Edition {
        self.edition
    }

    /// DI3 to DI0, or DI1 and DI0.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }
}

impl FromStr for Identifier {
    type Err = NameError;

    /// Eight hexadecimal digits are of 2007, four of 1997.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = u32::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'));
        match (text.len(), number) {
            (8, Some(number)) => Ok(Self::v2007(number)),
            (4, Some(number)) => Ok(Self { edition: Edition::V1997, number }),
            _ => Err(NameError::new(
                "data identifier",
                text,
                "8 hexadecimal digits DI3 to DI0 (DL/T 645-2007): \"00010000\", or 4 (1997): \"9010\"",
            )),
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.edition {
            Edition::V1997 => write!(f, "{:04x}", self.number),
            Edition::V2007 => write!(f, "{:08x}", self.number),
        }
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({self})")
    }
}
