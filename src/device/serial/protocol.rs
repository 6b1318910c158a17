//! What is usual for a protocol: its name, its line, its times, and the names of CJ/T 188 types.
//!
//! Where nobody says otherwise, a meter is asked as it stands here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Line, Parity, Timing};
use crate::codec::cjt188;

/// A protocol of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// DL/T 645, both editions.
    Dlt645,
    /// CJ/T 188.
    Cjt188,
    /// Modbus RTU.
    Modbus,
    /// M-Bus.
    Mbus,
}

/// A text that names no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol {0:?}: one of dlt645, cjt188, modbus, mbus")]
pub struct UnknownProtocol(String);

/// Types T of CJ/T 188 meters by name.
pub const KINDS: [(&str, u8); 9] = [
    ("cold-water", 0x10),
    ("hot-water", 0x11),
    ("drinking-water", 0x12),
    ("reclaimed-water", 0x13),
    ("heat", 0x20),
    ("cooling", 0x21),
    ("gas", 0x30),
    ("electricity", 0x40),
    ("any", cjt188::ANY_KIND),
];

impl Protocol {
    /// All, the quickest to find first.
    pub const ALL: [Self; 4] = [Self::Dlt645, Self::Cjt188, Self::Modbus, Self::Mbus];

    /// Its name in configurations and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dlt645 => "dlt645",
            Self::Cjt188 => "cjt188",
            Self::Modbus => "modbus",
            Self::Mbus => "mbus",
        }
    }

    /// How the line mostly is: 9600 8N1 for Modbus, 2400 8E1 for meters.
    #[must_use]
    pub fn line(self) -> Line {
        match self {
            Self::Modbus => Line { baud: 9600, parity: Parity::None, stop_bits: 1 },
            _ => Line { baud: 2400, parity: Parity::Even, stop_bits: 1 },
        }
    }

    /// Times of a meter that answers within `response_timeout`, or as late as meters of this protocol do.
    #[must_use]
    pub fn timing(self, line: Line, silence: Duration, response_timeout: Option<Duration>) -> Timing {
        let ms = Duration::from_millis;
        let (gap, usual) = match self {
            // At most 500 ms each (DL/T 645-2007 §5.3.3), and what adapters add.
            Self::Dlt645 => (ms(500), ms(1000)),
            // Those with batteries wake up first.
            Self::Cjt188 => (ms(500), ms(3000)),
            Self::Modbus => (ms(50), ms(1000)),
            Self::Mbus => (ms(50), ms(500)),
        };
        Timing::of(line, silence, gap, response_timeout.unwrap_or(usual))
    }

    /// Times for a search: no longer than the standards let a meter take, because most questions meet nobody.
    #[must_use]
    pub fn search_timing(self, line: Line, response_timeout: Option<Duration>) -> Timing {
        let usual = match self {
            // At most 500 ms (DL/T 645-2007 §5.3.3).
            Self::Dlt645 => Duration::from_millis(600),
            // Battery meters wake up first.
            Self::Cjt188 => Duration::from_secs(2),
            Self::Modbus => Duration::from_millis(200),
            // At most 330 bit times and 50 ms (EN 13757-2).
            Self::Mbus => line.character() * 30 + Duration::from_millis(100),
        };
        self.timing(line, Duration::ZERO, Some(response_timeout.unwrap_or(usual)))
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;
    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let known = Self::ALL.into_iter().find(|protocol| protocol.name() == text);
        known.ok_or_else(|| UnknownProtocol(text.chars().take(32).collect()))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a CJ/T 188 meter of this type is called; its hex digits where it has no name.
#[must_use]
pub fn kind_name(kind: u8) -> String {
    let known = KINDS.iter().find(|(_, code)| *code == kind);
    known.map_or_else(|| format!("{kind:02x}"), |(name, _)| (*name).to_owned())
}

/// A CJ/T 188 type by its name or its two hex digits.
#[must_use]
pub fn kind(text: &str) -> Option<u8> {
    let named = KINDS.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    let digits = || u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2);
    named.or_else(digits).filter(|kind| cjt188::is_kind(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.name().parse(), Ok(protocol));
        }
        for (name, code) in KINDS {
            assert_eq!((kind(name), kind_name(code)), (Some(code), name.to_owned()));
        }
        for (text, expected) in
            [("19", Some(0x19)), ("aa", Some(0xAA)), ("99", None), ("+1", None), ("1", None)]
        {
            assert_eq!(kind(text), expected, "{text}");
        }
        assert_eq!(kind_name(0x19), "19");
        assert!("DLT645".parse::<Protocol>().is_err());
    }

    #[test]
    fn a_search_waits_as_long_as_a_meter_may_take_and_a_reading_longer() {
        for (protocol, search_ms, reading_ms) in [
            (Protocol::Dlt645, 600, 1000),
            (Protocol::Cjt188, 2000, 3000),
            (Protocol::Modbus, 200, 1000),
            (Protocol::Mbus, 237, 500),
        ] {
            let line = protocol.line();
            let search = protocol.search_timing(line, None).response_timeout;
            let reading = protocol.timing(line, Duration::ZERO, None).response_timeout;
            assert_eq!((search.as_millis(), reading.as_millis()), (search_ms, reading_ms), "{protocol}");
            let own = Duration::from_millis(321);
            assert_eq!(protocol.search_timing(line, Some(own)).response_timeout, own);
        }
    }
}
