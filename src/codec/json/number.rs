//! JSON number → exact decimal.

use rust_decimal::Decimal;

/// Most decimal places of a [`Decimal`].
const SCALE_MAX: i64 = 28;

/// The value of a JSON number (RFC 8259 §6, already checked), or none when a decimal of 96 bits cannot hold it exactly.
pub(super) fn exact(text: &str) -> Option<Decimal> {
    let Some(at) = text.find(['e', 'E']) else {
        return Decimal::from_str_exact(text).ok();
    };
    let exponent = text[at + 1..].parse::<i64>();
    let digits = Decimal::from_str_exact(&text[..at]).ok()?.normalize();
    if digits.is_zero() {
        return Some(Decimal::ZERO);
    }
    let scale = i64::from(digits.scale()).checked_sub(exponent.ok()?)?;
    match scale {
        0..=SCALE_MAX => {
            Decimal::try_from_i128_with_scale(digits.mantissa(), u32::try_from(scale).ok()?).ok()
        }
        _ if (-SCALE_MAX..0).contains(&scale) => {
            let factor = 10_i128.checked_pow(u32::try_from(-scale).ok()?)?;
            Decimal::try_from_i128_with_scale(digits.mantissa().checked_mul(factor)?, 0).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_or_are_none() {
        for (text, expected) in [
            ("0", Some("0")),
            ("-0", Some("0")),
            ("21.50", Some("21.50")),
            ("9234567890123.4567890123456789", None),
            ("12345678901234567890.12345678", Some("12345678901234567890.12345678")),
            ("79228162514264337593543950335", Some("79228162514264337593543950335")),
            ("79228162514264337593543950336", None),
            ("0.0000000000000000000000000001", Some("0.0000000000000000000000000001")),
            ("0.00000000000000000000000000001", None),
            ("1e3", Some("1000")),
            ("1.5E-3", Some("0.0015")),
            ("-2.50e+1", Some("-25")),
            ("1e28", Some("10000000000000000000000000000")),
            ("1e29", None),
            ("1e-28", Some("0.0000000000000000000000000001")),
            ("1e-29", None),
            ("10e-29", Some("0.0000000000000000000000000001")),
            ("0e999999999999999999999", Some("0")),
            ("1e999999999999999999999", None),
            ("1e-9223372036854775808", None),
        ] {
            let expected = expected.map(|text| text.parse::<Decimal>().expect("a decimal"));
            assert_eq!(exact(text), expected, "{text}");
        }
    }

    #[test]
    fn the_written_scale_is_kept() {
        assert_eq!(exact("21.50").expect("a number").to_string(), "21.50");
    }
}
