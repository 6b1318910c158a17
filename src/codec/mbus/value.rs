//! The values of records, from their bytes to exact decimals and texts (EN 13757-3, types A to J).
//!
//! Guarantees: integers and BCD are exact; a float is the shortest decimal that reads back as the same float; what the
//! standard calls invalid, and what a decimal cannot hold, is no value.

use std::str::FromStr;

use m_bus_application_layer::data_information::DataFieldCoding;
use rust_decimal::Decimal;

use super::vif::{Coding, Vif};
use crate::codec::bcd;
use crate::model::Value;

/// The value in the bytes of a record behind its header; `data` is as long as the field says.
pub(super) fn read(field: DataFieldCoding, vif: &Vif, data: &[u8]) -> Option<Value> {
    use DataFieldCoding as Field;
    if vif.faulty {
        return None;
    }
    let number = match field {
        Field::Integer8Bit
        | Field::Integer16Bit
        | Field::Integer24Bit
        | Field::Integer32Bit
        | Field::Integer48Bit
        | Field::Integer64Bit => match vif.coding {
            Coding::Moment => return moment(data).map(|text| Value::Text(text.into())),
            Coding::Signed => signed(data)?,
            Coding::Unsigned => unsigned(data),
        },
        // No standard date is coded in one of these.
        _ if vif.coding == Coding::Moment => return None,
        Field::Real32Bit => return float(data, vif).map(Value::Number),
        Field::BCD2Digit | Field::BCD4Digit | Field::BCD6Digit | Field::BCD8Digit | Field::BCDDigit12 => {
            bcd(data)?
        }
        Field::VariableLength => {
            let (length, data) = data.split_first()?;
            match length {
                0x00..=0xBF => return text(data),
                0xC0..=0xC9 => bcd(data)?,
                0xD0..=0xD9 => -bcd(data)?,
                0xE0..=0xEF => signed(data)?,
                _ => return None,
            }
        }
        _ => return None,
    };
    scaled(number, vif.power, vif.factor).map(Value::Number)
}

/// `number * 10^power * factor`.
pub(super) fn scaled(number: i128, power: i32, factor: i128) -> Option<Decimal> {
    let number = number.checked_mul(factor)?;
    let digits = power.unsigned_abs();
    if power < 0 {
        return Decimal::try_from_i128_with_scale(number, digits).ok();
    }
    Decimal::try_from_i128_with_scale(number.checked_mul(10i128.checked_pow(digits)?)?, 0).ok()
}

/// Least significant byte first.
pub(super) fn unsigned(data: &[u8]) -> i128 {
    data.iter().rev().fold(0, |number, byte| number << 8 | i128::from(*byte))
}

/// Type B; the most negative number stands for none.
pub(super) fn signed(data: &[u8]) -> Option<i128> {
    // A decimal holds 96 bits.
    if !(1..=12).contains(&data.len()) {
        return None;
    }
    let (number, half) = (unsigned(data), 1i128 << (8 * data.len() - 1));
    if number == half {
        return None;
    }
    Some(if number > half { number - 2 * half } else { number })
}

/// Type A: digits, and F in the place of the first one for a minus.
pub(super) fn bcd(data: &[u8]) -> Option<i128> {
    let (last, rest) = data.split_last()?;
    let negative = last >> 4 == 0xF;
    let first = bcd::pair(if negative { last & 0x0F } else { *last })?;
    let number = rest
        .iter()
        .rev()
        .try_fold(i128::from(first), |number, byte| Some(number * 100 + i128::from(bcd::pair(*byte)?)))?;
    Some(if negative { -number } else { number })
}

/// Type H. `Display` of a float is its shortest text without an exponent.
fn float(data: &[u8], vif: &Vif) -> Option<Decimal> {
    let float = f32::from_le_bytes(data.try_into().ok()?);
    let decimal = Decimal::from_str(&float.to_string()).ok()?;
    let places = i32::try_from(decimal.scale()).ok()?;
    scaled(decimal.mantissa(), vif.power - places, vif.factor)
}

/// ISO 8859-1, the last character first.
fn text(data: &[u8]) -> Option<Value> {
    let text: String = data.iter().rev().map(|byte| char::from(*byte)).collect();
    (!text.is_empty()).then(|| Value::Text(text.into()))
}

/// Local time of the meter as ISO 8601 without a zone, also where no such day exists. A year of two digits is one of this
/// century; the century bits of type F are not looked at, because old meters leave them zero.
fn moment(data: &[u8]) -> Option<String> {
    let date = |low: u8, high: u8| {
        let year = 2000 + u16::from(low >> 5 | (high & 0xF0) >> 1);
        format!("{year:04}-{:02}-{:02}", high & 0x0F, low & 0x1F)
    };
    let (hour_bits, minute_bits) = (0x1F, 0x3F);
    match *data {
        // Type G.
        [low, high] => Some(date(low, high)),
        // Type J.
        [second, minute, hour] => {
            Some(format!("{:02}:{:02}:{:02}", hour & hour_bits, minute & minute_bits, second & minute_bits))
        }
        // Type F, unless its top bit says that the time is invalid.
        [minute @ 0..0x80, hour, low, high] => {
            Some(format!("{}T{:02}:{:02}:00", date(low, high), hour & hour_bits, minute & minute_bits))
        }
        // Type I, likewise.
        [second, minute @ 0..0x80, hour, low, high, _] => Some(format!(
            "{}T{:02}:{:02}:{:02}",
            date(low, high),
            hour & hour_bits,
            minute & minute_bits,
            second & minute_bits
        )),
        _ => None,
    }
}
