//! DL/T 645: electricity meters, editions 2007 and 1997, reading.
//!
//! Source: DL/T 645-2007 (clause numbers below) and DL/T 645-1997. Guarantees: no panic on any bytes; a frame is only what
//! has both start bytes, a possible length, the right checksum and the end byte; an answer is only what has the address,
//! the function and the data identifier of its question. It writes nothing to a meter.

use std::fmt;
use std::str::FromStr;

/// Which edition a meter speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Edition {
    /// DL/T 645-1997: identifiers of two bytes.
    V1997,
    /// DL/T 645-2007: identifiers of four bytes.
    V2007,
}

/// An address of twelve digits, in the order of the wire: the lowest two digits first. `AA` stands for any two digits
/// (§5.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u8; 6]);

impl Address {
    /// Any meter; only with one meter on the line.
    pub const ANY: Self = Self([0xAA; 6]);
    /// All meters; none answers.
    pub const BROADCAST: Self = Self([0x99; 6]);

    /// From the bytes of a frame; none when they are neither digits nor wildcards.
    #[must_use]
    pub fn from_wire(bytes: [u8; 6]) -> Option<Self> {
        let digits = |byte: u8| byte >> 4 <= 9 && byte & 0x0F <= 9;
        bytes.iter().all(|byte| *byte == 0xAA || digits(*byte)).then_some(Self(bytes))
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn wire(self) -> [u8; 6] {
        self.0
    }

    /// Whether a meter with the address `other` is meant: wildcards fit any digits.
    #[must_use]
    pub fn fits(self, other: Address) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| *mine == 0xAA || *mine == theirs)
    }
}

/// A text that is no address, or no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl FromStr for Address {
    type Err = NameError;

    /// Up to twelve digits, filled with zeros in front; pairs may be `AA`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError {
            what: "meter address",
            text: text.chars().take(32).collect(),
            rule: "up to 12 digits as printed on the meter, AA for any two: \"000000000161\"",
        };
        if text.is_empty() || text.len() > 12 || !text.is_ascii() {
            return Err(wrong());
        }
        let padded = format!("{text:0>12}");
        let mut bytes = [0; 6];
        for (byte, at) in bytes.iter_mut().rev().zip((0..12).step_by(2)) {
            *byte = u8::from_str_radix(&padded[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Self::from_wire(bytes).ok_or_else(wrong)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

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
            _ => Err(NameError {
                what: "data identifier",
                text: text.chars().take(32).collect(),
                rule: "8 hexadecimal digits DI3 to DI0 (DL/T 645-2007): \"00010000\", or 4 (1997): \"9010\"",
            }),
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
