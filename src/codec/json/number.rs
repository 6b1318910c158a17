//! JSON number → exact decimal.

use rust_decimal::Decimal;

/// Most decimal places of a [`Decimal`].
const SCALE_MAX: i64 = 28;

/// The value of a JSON number (RFC 8259 §6), or none when it is none or a decimal of 96 bits cannot hold it exactly.
pub(super) fn exact(text: &str) -> Option<Decimal> {
    if let Some(number) = short(text) {
        return Some(number);
    }
    let Some(at) = text.find(['e', 'E']) else {
        return Decimal::from_str_exact(text).ok();
    };
    let exponent = text[at + 1..].parse::<i64>();
    let digits = Decimal::from_str_exact(&text[..at]).ok()?;
    if digits.is_zero() {
        return Some(Decimal::ZERO);
    }
    let mut mantissa = digits.mantissa();
    let mut scale = i64::from(digits.scale()).checked_sub(exponent.ok()?)?;
    while scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    while (-SCALE_MAX..0).contains(&scale) {
        (mantissa, scale) = (mantissa.checked_mul(10)?, scale + 1);
    }
    Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
}

/// Almost every number there is: without exponent, and so short that it fits a machine word.
fn short(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let (Some(b'0'..=b'9'), Some(b'0'..=b'9'), ..=18) = (digits.first(), digits.last(), digits.len()) else {
        return None;
    };
    let (mut mantissa, mut scale, mut point) = (0_i64, 0, 0);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + i64::from(byte - b'0');
                scale += point;
            }
            b'.' if point == 0 => point = 1,
            _ => return None,
        }
    }
    Some(Decimal::new(if digits.len() < text.len() { -mantissa } else { mantissa }, scale))
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
            ("1e9223372036854775807", None),
            ("", None),
            ("1.2.3", None),
        ] {
            let expected = expected.map(|text| text.parse::<Decimal>().expect("a decimal"));
            assert_eq!(exact(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_is_the_same_way(mantissa in proptest::prelude::any::<i64>(), scale in 0u32..10) {
            let text = Decimal::new(mantissa, scale).to_string();
            let expected = Decimal::from_str_exact(&text).expect("a decimal");
            proptest::prop_assert_eq!(exact(&text).map(|number| number.to_string()), Some(expected.to_string()));
        }
    }

    #[test]
    fn the_written_scale_is_kept() {
        assert_eq!(exact("21.50").expect("a number").to_string(), "21.50");
    }
}
