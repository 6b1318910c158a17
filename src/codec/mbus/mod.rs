//! M-Bus (EN 13757-2 link layer, EN 13757-3 application layer), reading over a wired level converter.
//!
//! The link layer is here; records are taken apart by the crate m-bus-application-layer, and their values are read from the
//! bytes again, as exact decimals. Guarantees: no panic on any bytes; a frame is only what has its start bytes, both lengths
//! alike, the right checksum and the end byte. It writes nothing but link resets, selections and requests for data.

mod fixed;
mod frame;
mod items;
mod request;
mod telegram;
mod value;
mod vif;

#[cfg(test)]
mod tests;

pub use fixed::Fixed;
pub use frame::{FRAME_BYTES_MAX, Fault, Frame, examine, scan};
pub use items::items;
pub use request::{Answer, Refusal, Request, SELECTED};
pub use telegram::{Error, Function, Header, Maker, Record, Telegram, records};

use std::fmt;
use std::str::FromStr;

use super::bcd::NameError;

/// How a meter is addressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// By its primary address, 1 to 250.
    Primary(u8),
    /// By its identification number of eight digits (BCD, most significant first), whatever its primary address.
    Secondary(u32),
}

impl FromStr for Address {
    type Err = NameError;

    /// 1 to 250, or exactly eight digits.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let address = match text.len() {
            8 if digits => u32::from_str_radix(text, 16).ok().map(Self::Secondary),
            _ if digits => text.parse().ok().filter(|address| (1..=250).contains(address)).map(Self::Primary),
            _ => None,
        };
        address.ok_or_else(|| {
            let rule = "a primary address, 1 to 250, or the identification number of 8 digits";
            NameError::new("M-Bus address", text, rule)
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary(address) => address.fmt(f),
            Self::Secondary(number) => write!(f, "{number:08x}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
