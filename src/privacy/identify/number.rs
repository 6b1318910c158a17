//! Codes with a check digit: resident ids (GB 11643-1999, and its 15-digit forerunner), unified social credit codes
//! (GB 32100-2015) and card numbers (ISO/IEC 7812-1).
//!
//! Guarantees: true only for a whole text that is such a code and nothing else. What it does not do: tell whether the code
//! was given to anybody; look at today's date (a birth date may lie in the future, up to 2099).

/// First two digits of resident ids: the provinces of GB/T 2260, 71, 81 to 83 (Taiwan, Hong Kong, Macao and their residence
/// permits), 91 (abroad).
const PROVINCES: &[u8] = &[
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54,
    61, 62, 63, 64, 65, 71, 81, 82, 83, 91,
];

/// Weights of the 17 digits before the check digit (ISO 7064, MOD 11-2).
const ID_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// The 31 characters of a credit code: no I, O, S, V, Z.
const USCC: &[u8] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// First years of birth that are believed, and the last one.
const YEARS: std::ops::RangeInclusive<i16> = 1800..=2099;

/// A resident id of 18 characters: province, date of birth, check character (`X` or `x` for ten).
#[must_use]
pub fn id18(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((check, body)) = bytes.split_last() else { return false };
    if body.len() != 17 || !body.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = body.iter().zip(ID_WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let expected = b"10X98765432"[(sum % 11) as usize];
    check.to_ascii_uppercase() == expected
        && is_province(&body[..2])
        && is_date(number(&body[6..10]), &body[10..14])
}

/// A resident id of 15 digits, as given until 1999: province and date of birth in the 20th century. It has no check digit.
#[must_use]
pub fn id15(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 15
        && bytes.iter().all(u8::is_ascii_digit)
        && is_province(&bytes[..2])
        && is_date(1900 + number(&bytes[6..8]), &bytes[8..12])
}

/// A unified social credit code: 18 characters of upper case, six digits of a region from the third on, check character
/// modulo 31.
#[must_use]
pub fn uscc18(text: &str) -> bool {
    let bytes = text.as_bytes();
    let values: Option<Vec<usize>> =
        bytes.iter().map(|byte| USCC.iter().position(|symbol| symbol == byte)).collect();
    let Some(values) = values.filter(|values| values.len() == 18) else { return false };
    let (mut sum, mut weight) = (0, 1);
    for value in &values[..17] {
        sum += value * weight;
        weight = weight * 3 % 31;
    }
    values[17] == (31 - sum % 31) % 31 && bytes[2..8].iter().all(u8::is_ascii_digit)
}

/// A card number: 8 to 19 digits (as far as ISO/IEC 7812-1 goes), spaces and dashes between them allowed, not all zero,
/// whose check digit is right (Luhn).
#[must_use]
pub fn luhn(text: &str) -> bool {
    let inner = text.bytes().filter(|byte| !matches!(byte, b' ' | b'-'));
    let digits: Option<Vec<u8>> = inner.map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect();
    let edges = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
    edges(text.bytes().next())
        && edges(text.bytes().next_back())
        && digits.is_some_and(|digits| (8..=19).contains(&digits.len()) && checks(&digits))
}

/// Whether the last of these digits checks the others (ISO/IEC 7812-1, annex B); not for zeros alone.
pub(crate) fn checks(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([1, 2].into_iter().cycle())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .map(|product| product / 10 + product % 10)
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

fn is_province(digits: &[u8]) -> bool {
    u8::try_from(number(digits)).is_ok_and(|province| PROVINCES.contains(&province))
}

fn is_date(year: i16, month_day: &[u8]) -> bool {
    let (month, day) = (number(&month_day[..2]), number(&month_day[2..]));
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else { return false };
    YEARS.contains(&year) && jiff::civil::Date::new(year, month, day).is_ok()
}

/// What at most four digits say.
fn number(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn resident_ids() {
        for (text, valid) in [
            ("11010519491231002X", true),
            ("11010519491231002x", true),
            ("440524188001010014", true),
            ("110105199003071234", false),
            ("201511221897205960", false),
            ("110105194912310021", false),
            ("99010519491231002X", false),
            ("11010519491231002", false),
            ("11010519491231002X1", false),
            ("X1010519491231002X", false),
            ("１１０１０５19491231002X", false),
            ("", false),
        ] {
            assert_eq!(id18(text), valid, "{text}");
        }
    }

    #[test]
    fn a_right_check_digit_does_not_make_a_date() {
        for (body, valid) in [
            ("11010520000229001", true),
            ("11010520010229001", false),
            ("11010519001301001", false),
            ("11010519000001001", false),
            ("11010521000101001", false),
            ("11010517990101001", false),
            ("16010519900101001", false),
            ("91010519900101001", true),
            ("83010519900101001", true),
        ] {
            let sound =
                b"0123456789X".iter().filter(|check| id18(&format!("{body}{}", char::from(**check)))).count();
            assert_eq!(sound, usize::from(valid), "{body}");
        }
    }

    #[test]
    fn old_resident_ids() {
        for (text, valid) in [
            ("150102880730303", true),
            ("110105491231002", true),
            ("160102880730303", false),
            ("110102310199000", false),
            ("110105490229002", false),
            ("11010549123100", false),
            ("11010549123100X", false),
        ] {
            assert_eq!(id15(text), valid, "{text}");
        }
    }

    #[test]
    fn credit_codes() {
        for (text, valid) in [
            ("91310110666007217T", true),
            ("91310110666007217t", false),
            ("91310110666007217A", false),
            ("9131011066600721T", false),
            ("913I0110666007217T", false),
            ("91A10110666007217T", false),
            ("", false),
        ] {
            assert_eq!(uscc18(text), valid, "{text}");
        }
    }

    #[test]
    fn card_numbers() {
        for (text, valid) in [
            ("4111111111111111", true),
            ("4111 1111 1111 1111", true),
            ("4111-1111-1111-1111", true),
            ("4111111111111112", false),
            ("79927398713", true),
            ("378282246310005", true),
            ("0000000000000000", false),
            ("18", false),
            ("41111111111111111111", false),
            ("4111111111111111a", false),
            (" 4111111111111111", false),
            ("", false),
        ] {
            assert_eq!(luhn(text), valid, "{text}");
        }
    }

    proptest! {
        /// Every single wrong character is noticed, and every swap of unequal neighbours (MOD 11-2, MOD 31).
        #[test]
        fn check_characters_notice_slips(place in 0_usize..18, by in 1_u8..10) {
            for (good, valid) in [("11010519491231002X", id18 as fn(&str) -> bool), ("91310110666007217T", uscc18)] {
                let mut wrong = good.as_bytes().to_vec();
                if wrong[place].is_ascii_digit() {
                    wrong[place] = b'0' + (wrong[place] - b'0' + by) % 10;
                    let wrong = String::from_utf8(wrong).expect("ascii");
                    prop_assert!(!valid(&wrong), "{}", wrong);
                }
                let mut swapped = good.as_bytes().to_vec();
                swapped.swap(place.min(16), place.min(16) + 1);
                if swapped != good.as_bytes() {
                    prop_assert!(!valid(&String::from_utf8(swapped).expect("ascii")));
                }
            }
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = (id18(&text), id15(&text), uscc18(&text), luhn(&text));
        }
    }
}
