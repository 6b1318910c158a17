//! How registers make values and values make registers: width, byte order, "no value", names.
//!
//! Guarantees: integers, BCD and half floats are exact; a float is the shortest decimal that reads back as the same float;
//! what a decimal cannot hold, NaN, infinities, digits above 9 and characters that do not print are no value; digits beyond
//! the 28th decimal place are rounded. What is written reads back as the same value, or is not written.

use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::codec::bcd;
use crate::model::Value;

/// Order of the bytes of a value of more than one register, by the letters of field manuals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// ABCD: most significant first.
    Abcd,
    /// CDAB: registers swapped.
    Cdab,
    /// BADC: bytes swapped.
    Badc,
    /// DCBA: both.
    Dcba,
}

impl Order {
    /// Brings bytes from the wire into ABCD, and back.
    fn apply(self, bytes: &mut [u8]) {
        if matches!(self, Self::Cdab | Self::Dcba) {
            bytes.reverse();
        }
        if matches!(self, Self::Cdab | Self::Badc) {
            bytes.chunks_exact_mut(2).for_each(|pair| pair.reverse());
        }
    }
}

/// A text that names no register type or no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// No type.
    #[error("unknown type {0:?}: one of {names}", names = RegisterKind::NAMES)]
    Kind(String),
    /// No order.
    #[error(
        "unknown order {0:?}: one of ABCD, CDAB, BADC, DCBA, with as many letters as the value has bytes"
    )]
    Order(String),
}

impl FromStr for Order {
    type Err = KindError;

    /// Two, four or eight letters.
    fn from_str(text: &str) -> Result<Self, KindError> {
        Ok(match text {
            "AB" | "ABCD" | "ABCDEFGH" => Self::Abcd,
            "CDAB" | "GHEFCDAB" => Self::Cdab,
            "BA" | "BADC" | "BADCFEHG" => Self::Badc,
            "DCBA" | "HGFEDCBA" => Self::Dcba,
            _ => return Err(KindError::Order(text.into())),
        })
    }
}

/// How registers make a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterKind {
    /// A coil or discrete input.
    Bit,
    /// One bit of a register, 0 is the least significant.
    BitOf(u8),
    /// Unsigned 16 bit.
    U16,
    /// Signed 16 bit.
    I16,
    /// IEEE 754 half.
    F16,
    /// Unsigned 32 bit.
    U32(Order),
    /// Signed 32 bit.
    I32(Order),
    /// IEEE 754 single.
    F32(Order),
    /// Unsigned 64 bit.
    U64(Order),
    /// Signed 64 bit.
    I64(Order),
    /// IEEE 754 double.
    F64(Order),
    /// Four decimal digits, the highest in the highest four bits.
    Bcd16,
    /// Eight decimal digits.
    Bcd32(Order),
    /// Sixteen decimal digits.
    Bcd64(Order),
    /// The upper half of a register, unsigned.
    HighByte,
    /// The lower half of a register, unsigned.
    LowByte,
    /// The upper half of a register, signed.
    HighI8,
    /// The lower half of a register, signed.
    LowI8,
    /// ASCII, two characters a register, the first in the upper half; filled up with NUL or blanks.
    Text {
        /// How many registers.
        registers: u16,
        /// BADC: the first character is in the lower half. CDAB, DCBA: the last register comes first.
        order: Order,
    },
}

/// Types with one name each, in the order ABCD.
const NAMED: [(&str, RegisterKind); 17] = {
    use Order::Abcd;
    use RegisterKind::*;
    [
        ("bit", Bit),
        ("u16", U16),
        ("i16", I16),
        ("f16", F16),
        ("u32", U32(Abcd)),
        ("i32", I32(Abcd)),
        ("f32", F32(Abcd)),
        ("u64", U64(Abcd)),
        ("i64", I64(Abcd)),
        ("f64", F64(Abcd)),
        ("bcd16", Bcd16),
        ("bcd32", Bcd32(Abcd)),
        ("bcd64", Bcd64(Abcd)),
        ("high_byte", HighByte),
        ("low_byte", LowByte),
        ("high_i8", HighI8),
        ("low_i8", LowI8),
    ]
};

/// Registers of the longest text: one answer.
const TEXT_REGISTERS_MAX: u16 = 125;

impl FromStr for RegisterKind {
    type Err = KindError;

    /// The type in the order ABCD; [`RegisterKind::in_order`] gives it another.
    fn from_str(text: &str) -> Result<Self, KindError> {
        let number = |prefix: &str| {
            let digits = text.strip_prefix(prefix)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?
        };
        let named = || NAMED.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        let bit = || number("bit").filter(|bit| *bit < 16).map(|bit| Self::BitOf(bit as u8));
        let registers = || number("text:").filter(|registers| (1..=TEXT_REGISTERS_MAX).contains(registers));
        let text_of = || registers().map(|registers| Self::Text { registers, order: Order::Abcd });
        named().or_else(bit).or_else(text_of).ok_or_else(|| KindError::Kind(text.into()))
    }
}

impl RegisterKind {
    /// What a text may be to be a type.
    pub const NAMES: &str = "u16, i16, u32, i32, f32, u64, i64, f64, f16, bcd16, bcd32, bcd64, high_byte, low_byte, high_i8, \
                             low_i8, bit, bit0 to bit15, text:N with N registers";

    /// The type of that name in that order; none without such a name, or where the type has one order only.
    #[must_use]
    pub fn named(text: &str, order: Order) -> Option<Self> {
        let kind = text.parse::<Self>().ok()?;
        (order == Order::Abcd || kind.order().is_some()).then(|| kind.in_order(order))
    }

    /// The same in another order; types of one register that are no text have none.
    #[must_use]
    pub fn in_order(self, order: Order) -> Self {
        match self {
            Self::U32(_) => Self::U32(order),
            Self::I32(_) => Self::I32(order),
            Self::F32(_) => Self::F32(order),
            Self::U64(_) => Self::U64(order),
            Self::I64(_) => Self::I64(order),
            Self::F64(_) => Self::F64(order),
            Self::Bcd32(_) => Self::Bcd32(order),
            Self::Bcd64(_) => Self::Bcd64(order),
            Self::Text { registers, .. } => Self::Text { registers, order },
            one => one,
        }
    }

    /// The order of its bytes, where it has one.
    #[must_use]
    pub fn order(self) -> Option<Order> {
        match self {
            Self::U32(order) | Self::I32(order) | Self::F32(order) | Self::Bcd32(order) => Some(order),
            Self::U64(order) | Self::I64(order) | Self::F64(order) | Self::Bcd64(order) => Some(order),
            Self::Text { order, .. } => Some(order),
            _ => None,
        }
    }

    /// Items of its table that it takes: registers, or one bit.
    #[must_use]
    pub fn width(self) -> u16 {
        match self {
            Self::U32(_) | Self::I32(_) | Self::F32(_) | Self::Bcd32(_) => 2,
            Self::U64(_) | Self::I64(_) | Self::F64(_) | Self::Bcd64(_) => 4,
            Self::Text { registers, .. } => registers,
            _ => 1,
        }
    }

    /// Bits of the patterns that `absent` of [`RegisterKind::read`] may name; 0 where it is not asked.
    #[must_use]
    pub fn pattern_bits(self) -> u32 {
        match self {
            Self::Bit | Self::Text { .. } => 0,
            Self::HighByte | Self::LowByte | Self::HighI8 | Self::LowI8 => 8,
            _ => 16 * u32::from(self.width()),
        }
    }

    /// The value at item `at` of an answer's `data`: bits for [`RegisterKind::Bit`], registers for all others.
    ///
    /// None when `data` ends before it, when the raw pattern (most significant byte first, the whole register for
    /// [`RegisterKind::BitOf`], the byte for halves) is one of `absent`, for what is not a number, and for a text that is
    /// empty or does not print.
    #[must_use]
    pub fn read(self, data: &[u8], at: usize, absent: &[u64]) -> Option<Value> {
        if self == Self::Bit {
            return data.get(at / 8).map(|byte| Value::Flag(byte >> (at % 8) & 1 == 1));
        }
        let registers = data.get(at.checked_mul(2)?..)?.get(..2 * usize::from(self.width()))?;
        let order = self.order().unwrap_or(Order::Abcd);
        if matches!(self, Self::Text { .. }) {
            let mut bytes = registers.to_vec();
            order.apply(&mut bytes);
            return text(bytes);
        }
        let mut bytes = [0; 8];
        let own = &mut bytes[8 - registers.len()..];
        own.copy_from_slice(registers);
        order.apply(own);
        let raw = match self {
            Self::HighByte | Self::HighI8 => u64::from(bytes[6]),
            Self::LowByte | Self::LowI8 => u64::from(bytes[7]),
            _ => u64::from_be_bytes(bytes),
        };
        if absent.contains(&raw) {
            return None;
        }
        Some(Value::Number(match self {
            Self::Bit | Self::Text { .. } => return None,
            Self::BitOf(bit) => return raw.checked_shr(bit.into()).map(|bits| Value::Flag(bits & 1 == 1)),
            Self::U16 | Self::U32(_) | Self::U64(_) | Self::HighByte | Self::LowByte => raw.into(),
            Self::HighI8 | Self::LowI8 => (raw as i8).into(),
            Self::I16 => (raw as i16).into(),
            Self::I32(_) => (raw as i32).into(),
            Self::I64(_) => (raw as i64).into(),
            Self::F16 => half(raw as u16)?,
            Self::F32(_) => {
                let float = f32::from_bits(raw as u32);
                decimal(&float, float.into())?
            }
            Self::F64(_) => {
                let float = f64::from_bits(raw);
                decimal(&float, float)?
            }
            Self::Bcd16 | Self::Bcd32(_) | Self::Bcd64(_) => bcd::number(&raw.to_le_bytes(), 0, false)?,
        }))
    }

    /// The registers that say exactly `value`, in the order of the wire; none when it does not fit, and for bits, halves
    /// of registers and half floats, which are only read.
    #[must_use]
    pub fn write(self, value: &Value) -> Option<Vec<u16>> {
        let mut bytes = match (self, value) {
            (Self::Text { registers, .. }, Value::Text(text)) => {
                let mut bytes = text.as_bytes().to_vec();
                let fits = bytes.len() <= 2 * usize::from(registers);
                bytes.resize(2 * usize::from(registers), 0);
                fits.then_some(bytes)?
            }
            (_, Value::Number(number)) => {
                let raw = match self {
                    Self::U16 | Self::U32(_) | Self::U64(_) => number.to_u64()?,
                    Self::I16 | Self::I32(_) | Self::I64(_) => number.to_i64()? as u64,
                    Self::F32(_) => number.to_string().parse::<f32>().ok()?.to_bits().into(),
                    Self::F64(_) => number.to_string().parse::<f64>().ok()?.to_bits(),
                    // The decimal digits, read as hexadecimal ones.
                    Self::Bcd16 | Self::Bcd32(_) | Self::Bcd64(_) => {
                        u64::from_str_radix(&number.to_u64()?.to_string(), 16).ok()?
                    }
                    _ => return None,
                };
                raw.to_be_bytes()[8 - 2 * usize::from(self.width())..].to_vec()
            }
            _ => return None,
        };
        self.order().unwrap_or(Order::Abcd).apply(&mut bytes);
        // What was cut off on the way reads back as something else.
        let same = self.read(&bytes, 0, &[]).as_ref() == Some(value);
        same.then(|| bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }
}

/// Without what fills it up; none when nothing is left, or something that does not print.
fn text(mut bytes: Vec<u8>) -> Option<Value> {
    let end = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' '))? + 1;
    bytes.truncate(end);
    let text = String::from_utf8(bytes).ok()?;
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')).then(|| Value::Text(text.into()))
}

/// `Display` of a float is its shortest text without an exponent. Zero has no sign as a decimal.
fn decimal(text: &impl ToString, float: f64) -> Option<Decimal> {
    if float == 0.0 {
        return Some(Decimal::ZERO);
    }
    float.is_finite().then(|| Decimal::from_str(&text.to_string()).ok()).flatten()
}

/// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
fn half(bits: u16) -> Option<Decimal> {
    let fraction = f64::from(bits & 0x3FF);
    let magnitude = match i32::from(bits >> 10 & 0x1F) {
        0x1F => return None,
        0 => fraction * 2f64.powi(-24),
        exponent => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    let float = if bits >> 15 == 1 { -magnitude } else { magnitude };
    decimal(&float, float)
}

#[cfg(test)]
mod tests;
