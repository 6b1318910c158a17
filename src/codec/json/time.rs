//! The forms in which devices write a time.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{TimeForm, number};

/// Milliseconds since 1970 UTC of a well-formed JSON value in the given form; none when it is something else.
pub(super) fn read(form: TimeForm, raw: &str) -> Option<i64> {
    let unquoted = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match form {
        TimeForm::Text { zone_ms } => text(unquoted?.trim(), zone_ms),
        TimeForm::Seconds => epoch(unquoted.unwrap_or(raw), Decimal::ONE_THOUSAND),
        TimeForm::Millis => epoch(unquoted.unwrap_or(raw), Decimal::ONE),
    }
}

fn epoch(text: &str, factor: Decimal) -> Option<i64> {
    number::exact(text.trim())?.checked_mul(factor)?.floor().to_i64()
}

/// RFC 3339 and its relatives in the field: separators may be `-`, `.`, `/` or missing, seconds, fraction and zone may
/// be missing, the fraction is cut to milliseconds. A leap second counts as the one before it.
fn text(text: &str, zone_ms: i64) -> Option<i64> {
    let mut rest = Cursor(text.as_bytes());
    let year = rest.digits(4)?;
    rest.skip(b"-./");
    let month = rest.digits(2)?;
    rest.skip(b"-./");
    let day = rest.digits(2)?;
    rest.skip(b"Tt ");
    let hour = rest.digits(2)?;
    rest.skip(b":");
    let minute = rest.digits(2)?;
    rest.skip(b":");
    let second = rest.digits(2).unwrap_or(0);
    let millis = if rest.skip(b".,").is_some() { rest.fraction()? } else { 0 };
    rest.skip(b" ");
    let zone_ms = rest.zone(zone_ms)?;
    if !rest.0.is_empty() || second > 60 {
        return None;
    }
    let small = |n: i64| i8::try_from(n).ok();
    let civil = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second.min(59))?,
        0,
    );
    let utc = Offset::UTC.to_timestamp(civil.ok()?).ok()?;
    Some(utc.as_millisecond() + millis - zone_ms)
}

/// The part of a text that has not been read.
struct Cursor<'t>(&'t [u8]);

impl Cursor<'_> {
    /// Exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = rest;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// One of the bytes, if it comes next.
    fn skip(&mut self, any: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        any.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Digits after the point, as milliseconds.
    fn fraction(&mut self) -> Option<i64> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let millis =
            (0..3).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0')));
        (count > 0).then_some(millis)
    }

    /// `Z`, `+08:00`, `+0800`, `+08`, or nothing: then the given one. Milliseconds east of UTC.
    fn zone(&mut self, missing_ms: i64) -> Option<i64> {
        let sign = match self.skip(b"Zz+-") {
            None => return Some(missing_ms),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return Some(0),
        };
        let hours = self.digits(2)?;
        self.skip(b":");
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHINA_MS: i64 = 8 * 3_600_000;

    #[test]
    fn the_forms_of_the_field_are_read() {
        let at = Some(1_704_912_168_000);
        for (text, expected) in [
            ("2024-01-10T18:42:48Z", at),
            ("2024-01-10T18:42:48z", at),
            ("2024-01-11T02:42:48+08:00", at),
            ("2024-01-11T02:42:48+0800", at),
            ("2024-01-11T02:42:48+08", at),
            ("2024-01-10T13:42:48-05:00", at),
            ("2024-01-11T02:42:48", at),
            ("2024-01-11 02:42:48", at),
            ("2024.01.11 02:42:48", at),
            ("2024/01/11 02:42:48", at),
            ("20240111024248", at),
            ("20240110T184248Z", at),
            ("2024-01-10T18:42:48.123456789Z", Some(1_704_912_168_123)),
            ("2024-01-10T18:42:48.5Z", Some(1_704_912_168_500)),
            ("2024-01-11 02:42", Some(1_704_912_120_000)),
            ("1969-12-31T23:59:59Z", Some(-1_000)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_799_000)),
            ("2024-02-30T00:00:00Z", None),
            ("2024-01-10T24:00:00Z", None),
            ("2024-01-10T18:42:61Z", None),
            ("2024-01-10T18:42:48.Z", None),
            ("2024-01-10T18:42:48+25:00", None),
            ("2024-01-10T18:42:48Zx", None),
            ("2024-01-10", None),
            ("18:42:48", None),
            ("", None),
        ] {
            assert_eq!(super::text(text, CHINA_MS), expected, "{text:?}");
        }
    }

    #[test]
    fn epochs_are_numbers_or_digits() {
        for (form, raw, expected) in [
            (TimeForm::Seconds, "1704912168", Some(1_704_912_168_000)),
            (TimeForm::Seconds, "1.704912168e9", Some(1_704_912_168_000)),
            (TimeForm::Seconds, "\"1704912168.9999\"", Some(1_704_912_168_999)),
            (TimeForm::Millis, "1000", Some(1_000)),
            (TimeForm::Millis, "\"\"", None),
            (TimeForm::Millis, "\"soon\"", None),
            (TimeForm::Millis, "true", None),
            (TimeForm::Millis, "99999999999999999999", None),
            (TimeForm::Text { zone_ms: 0 }, "1704912168", None),
        ] {
            assert_eq!(read(form, raw), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:.+ /-]{0,30}", any in any::<String>()) {
            let _ = super::text(&text, CHINA_MS);
            let _ = super::text(&any, CHINA_MS);
        }

        #[test]
        fn what_is_written_comes_back(ms in 0i64..4_000_000_000_000) {
            let written = jiff::Timestamp::from_millisecond(ms).expect("in range").to_string();
            prop_assert_eq!(super::text(&written, CHINA_MS), Some(ms));
        }
    }
}
