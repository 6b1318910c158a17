//! DL/T 645: electricity meters, editions 2007 and 1997, reading.
//!
//! Source: DL/T 645-2007 (clause numbers in this module) and what implementations and captures agree on of DL/T 645-1997.
//! Guarantees: no panic on any bytes; a frame is only what has both start bytes, digits for an address, a possible length,
//! the right checksum and the end byte; an answer is only what has the address, the function and the data identifier of its
//! question. It writes nothing to a meter but, with [`TimeBroadcast`], the time to all of them.
//!
//! # Names of items
//!
//! | names | of |
//! |---|---|
//! | `forward_active_energy_total` | what is counted: combined, forward, reverse active; combined reactive 1, 2; quadrant 1 to 4 reactive; forward, reverse apparent; associated, fundamental, harmonic, copper and iron loss active |
//! | `phase_a_forward_active_energy` | the same of one phase, which has no tariffs |
//! | `forward_active_max_demand_total`, `forward_active_max_demand_time_total` | the largest demand and its minute |
//! | `…_tariff_1`, for `…_total` | one tariff, 1 to 63 |
//! | `…_settlement_1` behind it | as it was on the last settlement day but 0, 1 to 12 |
//! | `voltage_a`, `active_power_total`, `active_power_a` | what is measured, by phase and in total |
//! | `voltage_harmonic_a_3` | by phase and order |
//! | `daily_freeze_time`, `daily_freeze_forward_active_energy_total` | the last daily freeze; `…_day_2` is the one before it |
//! | `status_4.loss_of_voltage` | a bit of status word 4, true when it is 1; words 4, 5, 6 are phases A, B, C |
//! | `date`, `weekday`, `time`, `meter_number`, `meter_temperature`, … | what there is one of |
//!
//! Both editions use the same name for the same thing. [`item_names`] tells those of an identifier.

mod frame;
mod items;
mod request;
mod table;
#[cfg(test)]
mod tests;
mod time;

pub use frame::{FRAME_BYTES_MAX, Fault, Frame, examine, scan};
pub use items::{ItemError, bad_digits, item_names, items, known};
pub use request::{Answer, FOLLOW_FRAMES_MAX, Refusal, Request};
pub use time::{TimeBroadcast, clock_ms};

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

    /// The identifier at the front of an answer's or a question's data, and the rest; none when they are too short.
    #[must_use]
    pub fn split(edition: Edition, data: &[u8]) -> Option<(Self, &[u8])> {
        match edition {
            Edition::V1997 => {
                data.split_first_chunk().map(|(bytes, rest)| (Self::v1997(u16::from_le_bytes(*bytes)), rest))
            }
            Edition::V2007 => {
                data.split_first_chunk().map(|(bytes, rest)| (Self::v2007(u32::from_le_bytes(*bytes)), rest))
            }
        }
    }

    /// As it goes over the wire, but for the 33H: the lowest byte first.
    fn wire(self) -> Vec<u8> {
        let bytes = if self.edition == Edition::V1997 { 2 } else { 4 };
        self.number.to_le_bytes()[..bytes].to_vec()
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
