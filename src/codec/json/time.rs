//! The forms in which devices write a time.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{TimeForm, number};

/// A time as a device told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codec) struct Moment {
    /// Milliseconds since 1970 UTC.
    pub(in crate::codec) ms: i64,
    /// Nanoseconds after that, below a million.
    pub(in crate::codec) nanos: u32,
    /// Whether it told no zone, so that the given one was taken.
    pub(in crate::codec) local: bool,
}

/// What a number is, when it is a time since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::codec) enum Epoch {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// By its size: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds.
    Magnitude,
}

/// The time that a well-formed JSON value tells in the given form; none when it is something else.
pub(super) fn read(form: TimeForm, raw: &str) -> Option<Moment> {
    match form {
        TimeForm::Text { zone_ms } => text(unquoted(raw)?.trim(), zone_ms),
        TimeForm::Seconds => epoch(raw, Epoch::Seconds),
        TimeForm::Millis => epoch(raw, Epoch::Millis),
    }
}

/// The time that a well-formed JSON value tells: a text as one, a number or a text of digits as an epoch; none when it is
/// something else.
pub(in crate::codec) fn moment(raw: &str, unit: Epoch, zone_ms: i64) -> Option<Moment> {
    unquoted(raw).and_then(|raw| text(raw.trim(), zone_ms)).or_else(|| epoch(raw, unit))
}

fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
}

fn epoch(raw: &str, unit: Epoch) -> Option<Moment> {
    let number = number::exact(unquoted(raw).unwrap_or(raw).trim())?;
    let size = number.trunc().mantissa().unsigned_abs();
    let ten_to = |places| Decimal::from(10_i64.pow(places));
    let factor = match unit {
        Epoch::Seconds => ten_to(9),
        Epoch::Millis => ten_to(6),
        Epoch::Magnitude if size < 10_u128.pow(11) => ten_to(9),
        Epoch::Magnitude if size < 10_u128.pow(14) => ten_to(6),
        Epoch::Magnitude if size < 10_u128.pow(17) => ten_to(3),
        Epoch::Magnitude => Decimal::ONE,
    };
    let nanos = number.checked_mul(factor)?.floor().to_i128()?;
    let below = u32::try_from(nanos.rem_euclid(1_000_000)).ok()?;
    Some(Moment { ms: i64::try_from(nanos.div_euclid(1_000_000)).ok()?, nanos: below, local: false })
}

/// RFC 3339 and its relatives in the field: separators may be `-`, `.`, `/` or missing, seconds, fraction and zone may
/// be missing, the fraction is cut to nanoseconds. A leap second counts as the one before it.
fn text(text: &str, zone_ms: i64) -> Option<Moment> {
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
    let nanos = if rest.skip(b".,").is_some() { rest.fraction()? } else { 0 };
    rest.skip(b" ");
    let zone = rest.zone()?;
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
    let ms = utc.as_millisecond() + i64::from(nanos / 1_000_000) - zone.unwrap_or(zone_ms);
    Some(Moment { ms, nanos: nanos % 1_000_000, local: zone.is_none() })
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

    /// Digits after the point, as nanoseconds.
    fn fraction(&mut self) -> Option<u32> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let nanos =
            (0..9).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |digit| u32::from(digit - b'0')));
        (count > 0).then_some(nanos)
    }

    /// `Z`, `+08:00`, `+0800`, `+08` in milliseconds east of UTC, or nothing; none when it is something else.
    fn zone(&mut self) -> Option<Option<i64>> {
        let sign = match self.skip(b"Zz+-") {
            None => return Some(None),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return Some(Some(0)),
        };
        let hours = self.digits(2)?;
        self.skip(b":");
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 60 + minutes) * 60_000))
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
            ("2016-12-24T18:59:49-8:00", None),
            ("2024-01-10T18:42:48Zx", None),
            ("2024-01-10", None),
            ("18:42:48", None),
            ("", None),
        ] {
            assert_eq!(super::text(text, CHINA_MS).map(|moment| moment.ms), expected, "{text:?}");
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
            assert_eq!(read(form, raw).map(|moment| moment.ms), expected, "{raw}");
        }
    }

    #[test]
    fn a_moment_is_a_text_or_an_epoch_of_any_size() {
        let moment = |ms, nanos, local| Some(Moment { ms, nanos, local });
        for (unit, raw, expected) in [
            (
                Epoch::Millis,
                "\"2022-07-18T09:34:15.775023242+00:00\"",
                moment(1_658_136_855_775, 23_242, false),
            ),
            (Epoch::Millis, "\"2019-10-31T18:55:09\"", moment(1_572_519_309_000, 0, true)),
            (Epoch::Magnitude, "\"20240111024248\"", moment(1_704_912_168_000, 0, true)),
            (Epoch::Magnitude, "\"20240110T184248Z\"", moment(1_704_912_168_000, 0, false)),
            (Epoch::Magnitude, "1704912168", moment(1_704_912_168_000, 0, false)),
            (Epoch::Magnitude, "\"1704912168001\"", moment(1_704_912_168_001, 0, false)),
            (Epoch::Magnitude, "1704912168001002", moment(1_704_912_168_001, 2_000, false)),
            (Epoch::Magnitude, "1704912168001002003", moment(1_704_912_168_001, 2_003, false)),
            (Epoch::Magnitude, "1704912168.5", moment(1_704_912_168_500, 0, false)),
            (Epoch::Magnitude, "-0.0005", moment(-1, 500_000, false)),
            (Epoch::Millis, "1000", moment(1_000, 0, false)),
            (Epoch::Millis, "\"2016-12-24T18:59:49-8:00\"", None),
            (Epoch::Millis, "null", None),
            (Epoch::Seconds, "99999999999999999999", None),
        ] {
            assert_eq!(super::moment(raw, unit, CHINA_MS), expected, "{raw}");
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
            prop_assert_eq!(super::text(&written, CHINA_MS), Some(Moment { ms, nanos: 0, local: false }));
        }
    }
}
