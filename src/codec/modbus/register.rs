//! How registers make values: width, byte order, "no value".
//!
//! Guarantees: integers and half floats are exact; a float is the shortest decimal that reads back as the same float; what
//! a decimal cannot hold, NaN and infinities are no value; digits beyond the 28th decimal place are rounded.

use std::str::FromStr;

use rust_decimal::Decimal;

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
}

impl RegisterKind {
    /// Items of its table that it takes: registers, or one bit.
    #[must_use]
    pub fn width(self) -> u16 {
        match self {
            Self::Bit | Self::BitOf(_) | Self::U16 | Self::I16 | Self::F16 => 1,
            Self::U32(_) | Self::I32(_) | Self::F32(_) => 2,
            Self::U64(_) | Self::I64(_) | Self::F64(_) => 4,
        }
    }

    /// The value at item `at` of an answer's `data`: bits for [`RegisterKind::Bit`], registers for all others.
    ///
    /// None when `data` ends before it, when the raw pattern (most significant byte first, the whole register for
    /// [`RegisterKind::BitOf`]) is one of `absent`, and for what is not a number.
    #[must_use]
    pub fn read(self, data: &[u8], at: usize, absent: &[u64]) -> Option<Value> {
        if self == Self::Bit {
            return data.get(at / 8).map(|byte| Value::Flag(byte >> (at % 8) & 1 == 1));
        }
        let registers = data.get(2 * at..2 * (at + usize::from(self.width())))?;
        let raw = gather(registers, self.order());
        if absent.contains(&raw) {
            return None;
        }
        Some(Value::Number(match self {
            Self::Bit => return None,
            Self::BitOf(bit) => return raw.checked_shr(bit.into()).map(|bits| Value::Flag(bits & 1 == 1)),
            Self::U16 | Self::U32(_) | Self::U64(_) => raw.into(),
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
        }))
    }

    fn order(self) -> Order {
        match self {
            Self::Bit | Self::BitOf(_) | Self::U16 | Self::I16 | Self::F16 => Order::Abcd,
            Self::U32(order) | Self::I32(order) | Self::F32(order) => order,
            Self::U64(order) | Self::I64(order) | Self::F64(order) => order,
        }
    }
}

/// The raw bits, most significant first.
fn gather(registers: &[u8], order: Order) -> u64 {
    let push = |raw: u64, pair: &[u8]| {
        let register = u16::from_be_bytes([pair[0], pair[1]]);
        let swapped = matches!(order, Order::Badc | Order::Dcba);
        raw << 16 | u64::from(if swapped { register.swap_bytes() } else { register })
    };
    let pairs = registers.chunks_exact(2);
    match order {
        Order::Abcd | Order::Badc => pairs.fold(0, push),
        Order::Cdab | Order::Dcba => pairs.rev().fold(0, push),
    }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];

    fn text(kind: RegisterKind, data: &[u8]) -> Option<String> {
        match kind.read(data, 0, &[])? {
            Value::Number(number) => Some(number.to_string()),
            Value::Flag(flag) => Some(flag.to_string()),
            Value::Text(_) => None,
        }
    }

    #[test]
    fn every_kind_in_every_order() {
        use RegisterKind::*;
        let orders = |[a, b, c, d]: [u8; 4]| [[a, b, c, d], [c, d, a, b], [b, a, d, c], [d, c, b, a]];
        for (bytes, order) in orders([0x12, 0x34, 0x56, 0x78]).into_iter().zip(ORDERS) {
            assert_eq!(text(U32(order), &bytes).as_deref(), Some("305419896"), "{order:?}");
        }
        for (bytes, order) in orders([0xFF, 0xFF, 0xFF, 0xFE]).into_iter().zip(ORDERS) {
            assert_eq!(text(I32(order), &bytes).as_deref(), Some("-2"), "{order:?}");
        }
        for (bytes, order) in orders([0x41, 0xC8, 0xCC, 0xCD]).into_iter().zip(ORDERS) {
            assert_eq!(text(F32(order), &bytes).as_deref(), Some("25.1"), "{order:?}");
        }
        let long: [[u8; 8]; 4] = [
            [1, 2, 3, 4, 5, 6, 7, 8],
            [7, 8, 5, 6, 3, 4, 1, 2],
            [2, 1, 4, 3, 6, 5, 8, 7],
            [8, 7, 6, 5, 4, 3, 2, 1],
        ];
        for (bytes, order) in long.into_iter().zip(ORDERS) {
            assert_eq!(text(U64(order), &bytes).as_deref(), Some("72623859790382856"), "{order:?}");
        }
    }

    #[test]
    fn numbers_keep_their_digits_and_what_is_none_is_no_value() {
        use Order::Abcd;
        use RegisterKind::*;
        for (kind, data, expected) in [
            (U16, &[0xAB, 0xCD][..], Some("43981")),
            (I16, &[0xAB, 0xCD], Some("-21555")),
            (F16, &[0xB8, 0x14], Some("-0.509765625")),
            (F16, &[0x00, 0x01], Some("0.00000005960464477539063")),
            (F16, &[0x7C, 0x00], None),
            (BitOf(3), &[0x00, 0x08], Some("true")),
            (BitOf(15), &[0x7F, 0xFF], Some("false")),
            (BitOf(64), &[0, 0], None),
            (Bit, &[0b10], Some("false")),
            (U64(Abcd), &[0xFF; 8], Some("18446744073709551615")),
            (I64(Abcd), &[0x80, 0, 0, 0, 0, 0, 0, 0], Some("-9223372036854775808")),
            (F32(Abcd), &[0x3D, 0xCC, 0xCC, 0xCD], Some("0.1")),
            (F32(Abcd), &[0x80, 0, 0, 0], Some("0")),
            (F32(Abcd), &[0x7F, 0xC0, 0, 0], None),
            (F32(Abcd), &[0xFF, 0x80, 0, 0], None),
            (F32(Abcd), &[0x7F, 0x7F, 0xFF, 0xFF], None),
            (F64(Abcd), &[0x40, 0x5E, 0xDD, 0x2F, 0x1A, 0x9F, 0xBE, 0x77], Some("123.456")),
            (F64(Abcd), &[0x7F, 0xF8, 0, 0, 0, 0, 0, 0], None),
            (U32(Abcd), &[0, 1, 2], None),
        ] {
            assert_eq!(text(kind, data).as_deref(), expected, "{kind:?} {data:02x?}");
        }
    }

    #[test]
    fn absent_is_compared_in_the_order_of_the_value() {
        let kind = RegisterKind::U32(Order::Cdab);
        assert_eq!(kind.read(&[0xFF, 0xFF, 0x7F, 0xFF], 0, &[0x7FFF_FFFF]), None);
        assert_eq!(RegisterKind::I16.read(&[0, 0, 0x80, 0x00], 1, &[0x7FFF, 0x8000]), None);
        assert!(RegisterKind::I16.read(&[0, 0, 0x80, 0x00], 0, &[0x7FFF, 0x8000]).is_some());
        assert_eq!(RegisterKind::BitOf(0).read(&[0xFF, 0xFF], 0, &[0xFFFF]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_at_any_place_make_a_value_or_none(
            data in proptest::collection::vec(any::<u8>(), 0..40),
            at in 0..2100usize,
            bit in any::<u8>(),
        ) {
            for order in ORDERS {
                use RegisterKind::*;
                for kind in [Bit, BitOf(bit), U16, I16, F16, U32(order), I32(order), F32(order), U64(order), I64(order), F64(order)] {
                    let _ = kind.read(&data, at, &[]);
                }
            }
        }

        #[test]
        fn a_float_reads_back(float in -1e20f32..1e20) {
            let Some(Value::Number(number)) = RegisterKind::F32(Order::Abcd).read(&float.to_be_bytes(), 0, &[]) else {
                panic!("a number")
            };
            if float.abs() > 1e-15 {
                prop_assert_eq!(number.to_string().parse::<f32>().expect("a decimal is a float"), float);
            }
        }
    }
}
