//! Binary coded decimals as meters send them, lowest digits first: addresses and numbers.
//!
//! Guarantees: a number is exact and keeps its decimal places; a byte with a digit above 9 makes no number and no address.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

/// A text that is no address or no identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: String,
}

impl NameError {
    /// `text` is no `what`, because of the `rule`.
    #[must_use]
    pub fn new(what: &'static str, text: &str, rule: impl Into<String>) -> Self {
        Self { what, text: text.chars().take(32).collect(), rule: rule.into() }
    }
}

/// A meter's address of `2 * N` digits, in the order of the wire: the lowest two digits first. `AA` stands for any two
/// digits (DL/T 645-2007 §5.2.1; CJ/T 188-2004 has it for all of them at once).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address<const N: usize>([u8; N]);

impl<const N: usize> Address<N> {
    /// Any meter; only with one meter on the line.
    pub const ANY: Self = Self([0xAA; N]);

    /// From the bytes of a frame; none when they are neither digits nor wildcards.
    #[must_use]
    pub fn from_wire(bytes: [u8; N]) -> Option<Self> {
        bytes.iter().all(|byte| *byte == 0xAA || is_bcd(*byte)).then_some(Self(bytes))
    }

    /// The bytes of a frame.
    #[must_use]
    pub fn wire(self) -> [u8; N] {
        self.0
    }

    /// Whether it stands for more than one meter.
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        self.0.contains(&0xAA)
    }

    /// Whether a meter with the address `other` is meant: wildcards fit any digits.
    #[must_use]
    pub fn fits(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| *mine == 0xAA || *mine == theirs)
    }
}

impl<const N: usize> FromStr for Address<N> {
    type Err = NameError;

    /// Up to `2 * N` digits, filled with zeros in front; pairs may be `AA`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || {
            let rule = format!("up to {} digits, as printed on the meter; AA stands for any two", 2 * N);
            NameError::new("meter address", text, rule)
        };
        if text.is_empty() || text.len() > 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let padded = format!("{text:0>width$}", width = 2 * N);
        let mut bytes = [0; N];
        for (byte, at) in bytes.iter_mut().rev().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&padded[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Self::from_wire(bytes).ok_or_else(wrong)
    }
}

impl<const N: usize> fmt::Display for Address<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Address<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Whether both halves of a byte are digits.
#[must_use]
pub fn is_bcd(byte: u8) -> bool {
    byte >> 4 <= 9 && byte & 0x0F <= 9
}

/// Two digits.
#[must_use]
pub fn pair(byte: u8) -> Option<u8> {
    is_bcd(byte).then_some(10 * (byte >> 4) + (byte & 0x0F))
}

/// A number of up to 14 bytes, lowest digits first, with so many decimal places; none when a digit is above 9. With `signed`
/// the top bit of the last byte is the sign (DL/T 645-2007 App. A, notes 1 to 6).
#[must_use]
pub fn number(bytes: &[u8], places: u32, signed: bool) -> Option<Decimal> {
    let (last, rest) = bytes.split_last()?;
    let top = if signed { last & 0x7F } else { *last };
    let digits = rest.iter().rev().try_fold(i128::from(pair(top)?), |number, byte| {
        number.checked_mul(100)?.checked_add(i128::from(pair(*byte)?))
    })?;
    let mut number = Decimal::try_from_i128_with_scale(digits, places).ok()?;
    // Zero has no sign as a decimal.
    number.set_sign_negative(signed && last & 0x80 != 0 && !number.is_zero());
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_on_the_meter() {
        for (text, shown) in [
            ("000000000161", Some("000000000161")),
            ("161", Some("000000000161")),
            ("AAAAAAAAAA12", Some("aaaaaaaaaa12")),
            ("", None),
            ("1234567890123", None),
            ("00000000016A", None),
            ("+12345678901", None),
            ("电", None),
        ] {
            let address = text.parse::<Address<6>>();
            assert_eq!(address.as_ref().ok().map(ToString::to_string).as_deref(), shown, "{text}");
        }
        let meter: Address<6> = "201000000012".parse().expect("an address");
        assert_eq!(meter.wire(), [0x12, 0, 0, 0, 0x10, 0x20]);
        for (asked, fits) in [("AAAAAAAAAA12", true), ("AAAAAAAAAA13", false), ("201000000012", true)] {
            assert_eq!(asked.parse::<Address<6>>().expect("an address").fits(meter), fits, "{asked}");
        }
        assert!(Address::<6>::ANY.fits(meter) && Address::<6>::ANY.is_wildcard() && !meter.is_wildcard());
        let error = "x".parse::<Address<7>>().expect_err("no address");
        assert_eq!(
            error.to_string(),
            "meter address \"x\": up to 14 digits, as printed on the meter; AA stands for any two"
        );
    }

    #[test]
    fn numbers_are_exact() {
        for (bytes, places, signed, expected) in [
            (&[0x78, 0x56, 0x34, 0x12][..], 2, false, Some("123456.78")),
            (&[0x00, 0x00, 0x00, 0x00], 2, false, Some("0.00")),
            (&[0x12, 0x25, 0x80], 4, true, Some("-0.2512")),
            (&[0x00, 0x00, 0x80], 4, true, Some("0.0000")),
            (&[0x12, 0x25, 0x80], 4, false, Some("80.2512")),
            (&[0x00, 0x00, 0x0E, 0x00], 2, false, None),
            (&[0xFF, 0xFF], 1, false, None),
            (&[0x99; 14], 0, false, Some("9999999999999999999999999999")),
            (&[0x99; 15], 0, false, None),
            (&[], 0, false, None),
        ] {
            let shown = number(bytes, places, signed).map(|number| number.to_string());
            assert_eq!(shown.as_deref(), expected, "{bytes:02x?}");
        }
    }
}
