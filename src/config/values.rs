//! The values of single keys: texts, numbers, exact decimals, durations, sizes, offsets, dates.
//!
//! Guarantees: a decimal keeps its digits; a duration or size has a unit. Does not know which value is sensible where.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::civil::Date;
use rust_decimal::Decimal;
use toml::de::DeValue;

use super::fault::Report;
use super::read::{Node, Read, parsed};
use crate::codec::modbus::{Order, RegisterKind};
use crate::codec::{cjt188, dlt645};
use crate::model::{Consumer, DeviceId, LineId, Metric, Place};
use crate::spelling::{amount, duration};

/// Reads types that have a parser of their own from a text.
macro_rules! from_text {
    ($($type:ty, $expected:literal;)*) => {
        $(impl Read for $type {
            fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
                parsed(node, $expected, report, str::parse::<$type>)
            }
        })*
    };
}
from_text! {
    DeviceId, "a device's id: \"door-1\"";
    Metric, "a metric: \"temperature\"";
    LineId, "an id: \"C-001\"";
    Place, "a place, from the large to the small: \"B3/lobby\"";
    Consumer, "a consumer: \"spiffe://brain.example/city/310115/brain/traffic\"";
    SocketAddr, "an address and a port: \"127.0.0.1:1883\"";
    Size, "a size: \"512 KiB\", \"64 MiB\", \"2 GiB\"";
    Zone, "an offset from UTC: \"+08:00\"";
    RegisterKind, "a register type: \"i16\"";
    Order, "an order of bytes: \"ABCD\"";
    dlt645::Identifier, "a data identifier: \"00010000\"";
    cjt188::Identifier, "a data identifier: \"901f\"";
}

impl Read for String {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let text = node.text("a text", report)?;
        if text.is_empty() || text.len() > 4096 {
            report.fault(node.span, format!("a text of {} bytes", text.len()), "1 to 4096 bytes");
            return None;
        }
        Some(text.to_owned())
    }
}

impl Read for bool {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Boolean(flag) = node.value else {
            node.unexpected("true or false", report);
            return None;
        };
        Some(*flag)
    }
}

impl Read for u64 {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Integer(number) = node.value else {
            node.unexpected("an integer without quotes: 200", report);
            return None;
        };
        let read = u64::from_str_radix(number.as_str(), number.radix()).ok();
        if read.is_none() {
            report.fault(node.span, format!("{number} is out of range"), "an integer from 0 up");
        }
        read
    }
}

impl Read for Decimal {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a number: 0.1, -40 or \"0.1\", at most 28 digits";
        let text = match node.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            DeValue::String(text) => text,
            _ => {
                node.unexpected(expected, report);
                return None;
            }
        };
        let plain = text.strip_prefix('+').unwrap_or(text);
        let number = Decimal::from_str_exact(plain).or_else(|_| Decimal::from_scientific(plain)).ok();
        if number.is_none() {
            report.fault(node.span, format!("{text:?} is no exact decimal"), format!("expected {expected}"));
        }
        number
    }
}

impl Read for Duration {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let expected = "a duration: \"500ms\", \"5s\", \"15m\", \"1h\", \"7d\"";
        parsed(node, expected, report, duration)
    }
}

/// Bytes, written with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl std::str::FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
        amount(text, &units, "size").map(Size)
    }
}

impl Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(bytes, _)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((bytes, unit)) => write!(f, "{} {unit}", self.0 / bytes),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// An offset from UTC in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone(pub(crate) i64);

impl std::str::FromStr for Zone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let sign = match text.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = text[1..].split_once(':')?;
            let digits = |part: &str| {
                let two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
                part.parse::<i64>().ok().filter(|_| two)
            };
            let (hours, minutes) = (digits(hours)?, digits(minutes)?);
            (hours <= 14 && minutes < 60).then_some(Zone(sign * (hours * 60 + minutes) * 60_000))
        };
        parts().ok_or_else(|| format!("{text:?} is no offset from UTC"))
    }
}

/// The end of a permission: a day in the gateway's zone, which it includes, or a moment, which it excludes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// To the end of this day.
    Day(Date),
    /// Up to here, milliseconds since 1970 UTC.
    Moment(i64),
}

impl Read for Until {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let text = match node.value {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => {
                node.unexpected("a date: \"2027-12-31\"", report);
                return None;
            }
        };
        let day = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten().map(Until::Day);
        let moment = || text.parse::<jiff::Timestamp>().ok().map(|at| Until::Moment(at.as_millisecond()));
        let until = day.or_else(moment);
        if until.is_none() {
            let help = "a day \"2027-12-31\" or a time with its zone \"2027-12-31T18:00:00+08:00\"";
            report.fault(node.span, format!("{text:?} is no date"), help);
        }
        until
    }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::super::fault::Span;
    use super::*;

    fn read<T: Read>(text: &str) -> Option<T> {
        let text = format!("x = {text}");
        let table = DeTable::parse(&text).expect("valid TOML");
        let value = table.get_ref().get("x").expect("the key").get_ref();
        let mut report = Report::default();
        let read = T::read(&Node { value, span: Span::default() }, &mut report);
        assert_eq!(read.is_none(), !report.faults.is_empty(), "{text}: a fault or a value");
        read
    }

    #[test]
    fn durations_and_sizes_have_units() {
        for (text, ms) in
            [("2ms", 2), ("5 s", 5000), ("15m", 900_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(read::<Duration>(&format!("{text:?}")), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["'5'", "'s'", "''", "5", "'1.5s'", "'-1s'", "'5 sec'", "'999999999999999999d'"] {
            assert_eq!(read::<Duration>(text), None, "{text}");
        }
        for (text, bytes) in [("0B", 0), ("64 MiB", 64 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(read::<Size>(&format!("{text:?}")), Some(Size(bytes)), "{text}");
        }
        assert_eq!(read::<Size>("'64 MB'"), None, "decimal units would be read as something else");
        assert_eq!([Size(64 << 20), Size(1025)].map(|size| size.to_string()), ["64 MiB", "1025 B"]);
    }

    #[test]
    fn decimals_keep_their_digits() {
        for (text, exact) in
            [("0.1", "0.1"), ("1.10", "1.10"), ("-40", "-40"), ("'60'", "60"), ("1e-3", "0.001")]
        {
            assert_eq!(read::<Decimal>(text).map(|number| number.to_string()).as_deref(), Some(exact));
        }
        for text in ["nan", "inf", "'ten'", "true", "0x10", "0.00000000000000000000000000000000001"] {
            assert_eq!(read::<Decimal>(text), None, "{text}");
        }
    }

    #[test]
    fn zones_and_dates() {
        for (text, ms) in
            [("'+08:00'", Some(28_800_000)), ("'-03:30'", Some(-12_600_000)), ("'+00:00'", Some(0))]
        {
            assert_eq!(read::<Zone>(text).map(|zone| zone.0), ms);
        }
        for text in ["'Z'", "'+8'", "'08:00'", "'+15:00'", "'+08:60'", "'+++:--'", "''", "'东08'"] {
            assert_eq!(read::<Zone>(text), None, "{text}");
        }
        assert!(matches!(read::<Until>("2027-12-31"), Some(Until::Day(_))));
        assert!(matches!(read::<Until>("'2027-12-31'"), Some(Until::Day(_))));
        assert!(matches!(read::<Until>("'1970-01-01T08:00:01+08:00'"), Some(Until::Moment(1000))));
        for text in ["'2027-02-30'", "'2027-12-31T00:00:00'", "'soon'", "7"] {
            assert!(read::<Until>(text).is_none(), "{text}");
        }
    }
}
