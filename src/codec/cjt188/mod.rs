//! CJ/T 188-2004: water, gas and heat meters, reading.
//!
//! The text of the standard was not at hand: what stands here agrees across implementations and captured frames.
//! Guarantees: no panic on any bytes; a frame is only what has a known type, digits for an address, a possible length, the
//! right checksum and the end byte; an answer is only what has the address, the function, the identifier and (where the
//! meter keeps to it) the serial number of its question. It writes nothing to a meter.

use std::fmt;
use std::str::FromStr;

/// An address of fourteen digits, in the order of the wire: the lowest two digits first. `AA` everywhere stands for any
/// meter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u8; 7]);

impl Address {
    /// Any meter; only with one meter on the line.
    pub const ANY: Self = Self([0xAA; 7]);

    /// From the bytes of a frame; none when they are neither digits nor wildcards.
    #[must_use]
    pub fn from_wire(bytes: [u8; 7]) -> Option<Self> {
        let digits = |byte: u8| byte >> 4 <= 9 && byte & 0x0F <= 9;
        bytes.iter().all(|byte| *byte == 0xAA || digits(*byte)).then_some(Self(bytes))
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn wire(self) -> [u8; 7] {
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

    /// Up to fourteen digits, filled with zeros in front; pairs may be `AA`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError {
            what: "meter address",
            text: text.chars().take(32).collect(),
            rule: "up to 14 digits as printed on the meter: \"00000805000001\"",
        };
        if text.is_empty() || text.len() > 14 || !text.is_ascii() {
            return Err(wrong());
        }
        let padded = format!("{text:0>14}");
        let mut bytes = [0; 7];
        for (byte, at) in bytes.iter_mut().rev().zip((0..14).step_by(2)) {
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
        number.map(Self).ok_or_else(|| NameError {
            what: "data identifier",
            text: text.chars().take(32).collect(),
            rule: "4 hexadecimal digits: \"901f\" is the present reading, \"d120\" last month's",
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
