//! Exceptions: why a slave says no, in words for people.
//!
//! Source: V1.1b3 §7. The texts say nothing about a value.

use std::fmt;

/// Why a slave says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception(pub u8);

impl Exception {
    /// Whether asking the same again gives the same: the slave has no such function, address or value.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        matches!(self.0, 1..=3)
    }

    /// Whether it says that a gateway got nothing from the slave itself: as good as a timeout.
    #[must_use]
    pub fn is_silence(self) -> bool {
        matches!(self.0, 0x0A | 0x0B)
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self.0 {
            1 => "the slave does not know this function: look for the point in another table",
            2 => {
                "the slave has no such address: check table, address and type; manuals that count from 1 or 40001 are one off"
            }
            3 => {
                "the slave does not take this count or this value: read fewer items at once, check what is written"
            }
            4 => "the slave failed while it answered: look at the device",
            5 => "the slave has begun and needs longer: ask again later",
            6 => "the slave is busy: ask again later, or less often",
            7 => "the slave cannot do it now: see its manual",
            8 => "the slave's memory is damaged: have it serviced",
            0x0A => "the gateway has no way to the slave: check the gateway's ports and routes",
            0x0B => "the slave behind the gateway is silent: check its power, its wires and its unit address",
            _ => "a code of the manufacturer: see the slave's manual",
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "device failure",
            5 => "acknowledge",
            6 => "busy",
            7 => "negative acknowledge",
            8 => "memory parity error",
            0x0A => "gateway path unavailable",
            0x0B => "gateway target did not answer",
            code => return write!(f, "exception {code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_what_it_is_and_what_to_do() {
        for (code, text, lasting, silence) in [
            (1, "illegal function", true, false),
            (2, "illegal data address", true, false),
            (3, "illegal data value", true, false),
            (4, "device failure", false, false),
            (6, "busy", false, false),
            (0x0A, "gateway path unavailable", false, true),
            (0x0B, "gateway target did not answer", false, true),
            (200, "exception 200", false, false),
        ] {
            let exception = Exception(code);
            assert_eq!(exception.to_string(), text);
            assert_eq!((exception.is_lasting(), exception.is_silence()), (lasting, silence), "{text}");
            assert!(!exception.advice().is_empty());
        }
    }
}
