//! Sample → Reading: kind, scale and offset, range, event time and quality as far as one sample tells it.
//!
//! Guarantees: no number goes through a float; a device's time is only taken where it is plausible, so nothing after this
//! lies more than [`AHEAD_MAX_MS`] after its receive time, or more than [`BEHIND_MAX_MS`] before it, [`HISTORY_MAX_MS`] if
//! it tells of the past. Pure: no clock, no state; what only the readings before it can tell is [`crate::rules`]' to say.

use rust_decimal::Decimal;

use crate::model::{Loss, Quality, Reading, Sample, Stamp, Value};

/// No device time before 2015-01-01T00:00:00Z is believed, milliseconds since 1970 UTC.
pub const EARLIEST_MS: i64 = 1_420_070_400_000;
/// How far a device's time may lie after the receive time, milliseconds.
pub const AHEAD_MAX_MS: i64 = 5 * 60 * 1000;
/// How far a device's time may lie before the receive time, milliseconds.
pub const BEHIND_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// How far it may if the sample tells of the past: a month, which is as long as a meter or a logger keeps its days.
pub const HISTORY_MAX_MS: i64 = 31 * BEHIND_MAX_MS;
/// How far a device's clock may be from the gateway's, milliseconds.
pub const CLOCK_TOLERANCE_MS: u64 = 5 * 60 * 1000;

/// What kind of value a point has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A decimal number; a text that is one from end to end is taken as it.
    Number,
    /// On or off; the numbers 0 and 1 are taken as it.
    Flag,
    /// A text; a number is taken as the text it was written as.
    Text,
}

/// What becomes of a number outside of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Dropped as [`Loss::OutOfRange`].
    Drop,
    /// Kept as [`Quality::OutOfRange`].
    Flag,
}

/// How one point is normalised: `reading = sample × scale + offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Expected kind.
    pub kind: Kind,
    /// Factor; of numbers only.
    pub scale: Decimal,
    /// Added after scaling; of numbers only.
    pub offset: Decimal,
    /// Inclusive bounds of the scaled value; of numbers only.
    pub range: Option<(Decimal, Decimal)>,
    /// What is done with what lies beyond them.
    pub outside: Outside,
}

/// One sample, normalised.
///
/// # Errors
/// [`Loss::Invalid`] for a value of another kind or beyond a decimal, [`Loss::OutOfRange`] for one that the rule drops.
pub fn normalise(rule: &Rule, sample: Sample, received: Stamp) -> Result<Reading, Loss> {
    let value = match (rule.kind, sample.value) {
        (Kind::Number, Value::Number(number)) => Value::Number(rule.number(number)?),
        (Kind::Number, Value::Text(text)) => Value::Number(rule.number(parse(&text).ok_or(Loss::Invalid)?)?),
        (Kind::Flag, value @ Value::Flag(_)) | (Kind::Text, value @ Value::Text(_)) => value,
        (Kind::Flag, Value::Number(number)) if number.is_zero() => Value::Flag(false),
        (Kind::Flag, Value::Number(number)) if number == Decimal::ONE => Value::Flag(true),
        (Kind::Text, Value::Number(number)) => Value::Text(number.to_string().into()),
        _ => return Err(Loss::Invalid),
    };
    let received_ms = received.wall_ms;
    let device_ms = sample.device_ms.filter(|&time_ms| is_plausible(time_ms, received_ms, sample.history));
    let in_range = match &value {
        Value::Number(number) => rule.range.is_none_or(|(low, high)| (low..=high).contains(number)),
        Value::Flag(_) | Value::Text(_) => true,
    };
    let quality = match (sample.device_ms, device_ms) {
        _ if !in_range && rule.outside == Outside::Drop => return Err(Loss::OutOfRange),
        _ if !in_range => Quality::OutOfRange,
        (Some(_), None) => Quality::Skewed,
        _ if sample.clock_ms.is_some_and(|clock_ms| is_wrong(clock_ms, received_ms)) => Quality::Clock,
        _ if sample.retained || sample.history => Quality::Retained,
        _ => Quality::Good,
    };
    Ok(Reading {
        series: sample.series,
        value,
        time_ms: device_ms.unwrap_or(received_ms),
        received_ms,
        device_time: device_ms.is_some(),
        quality,
    })
}

impl Rule {
    fn number(&self, raw: Decimal) -> Result<Decimal, Loss> {
        let scaled = if self.scale == Decimal::ONE { Some(raw) } else { raw.checked_mul(self.scale) };
        match scaled {
            Some(scaled) if self.offset.is_zero() => Ok(scaled),
            Some(scaled) => scaled.checked_add(self.offset).ok_or(Loss::Invalid),
            None => Err(Loss::Invalid),
        }
    }
}

/// Plain or scientific notation, nothing around it.
fn parse(text: &str) -> Option<Decimal> {
    // The decimal parser reads "1_000" as a number; no device means that.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) {
        return None;
    }
    if text.contains(['e', 'E']) {
        Decimal::from_scientific(text).ok()
    } else {
        Decimal::from_str_exact(text).ok()
    }
}

/// Whether a device's time is taken as that of its reading; both in milliseconds since 1970 UTC.
#[must_use]
pub fn is_plausible(device_ms: i64, received_ms: i64, history: bool) -> bool {
    let behind_ms = if history { HISTORY_MAX_MS } else { BEHIND_MAX_MS };
    device_ms >= EARLIEST_MS
        && device_ms <= received_ms.saturating_add(AHEAD_MAX_MS)
        && device_ms >= received_ms.saturating_sub(behind_ms)
}

/// A gateway that has not been told the time yet cannot say that another clock is wrong.
fn is_wrong(clock_ms: i64, received_ms: i64) -> bool {
    received_ms >= EARLIEST_MS && clock_ms.abs_diff(received_ms) > CLOCK_TOLERANCE_MS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::SeriesKey;

    const NOW_MS: i64 = 1_790_000_000_000;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str_exact(text).expect("a number in a test")
    }

    fn rule(kind: Kind, scale: &str, offset: &str, range: Option<(&str, &str)>) -> Rule {
        Rule {
            kind,
            scale: decimal(scale),
            offset: decimal(offset),
            range: range.map(|(low, high)| (decimal(low), decimal(high))),
            outside: Outside::Drop,
        }
    }

    fn run(rule: &Rule, value: Value, device_ms: Option<i64>, retained: bool) -> Result<Reading, Loss> {
        let sample = Sample {
            message: None,
            series: SeriesKey(7),
            value,
            device_ms,
            clock_ms: None,
            retained,
            history: false,
        };
        normalise(rule, sample, Stamp { wall_ms: NOW_MS, mono_ms: 1 })
    }

    fn number(text: &str) -> Value {
        Value::Number(decimal(text))
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// What a device can read of the result: its text keeps the digits that an equality would forget.
    fn shown(value: &Value) -> String {
        match value {
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Text(text) => format!("'{text}'"),
        }
    }

    #[test]
    fn values() {
        let plain = rule(Kind::Number, "1", "0", None);
        let tenth = rule(Kind::Number, "0.1", "-40", Some(("-40", "85.0")));
        let huge = rule(Kind::Number, "1000", "0", None);
        let huge_offset = rule(Kind::Number, "1", "79228162514264337593543950335", None);
        let flag = rule(Kind::Flag, "0.1", "5", Some(("0", "0")));
        let texts = rule(Kind::Text, "0.1", "5", None);
        let max = "79228162514264337593543950335";
        let cases: Vec<(&Rule, Value, Result<&str, Loss>)> = vec![
            (&plain, number("21.50"), Ok("21.50")),
            (&plain, text("21.50"), Ok("21.50")),
            (&plain, text("-7"), Ok("-7")),
            (&plain, text("+7"), Ok("7")),
            (&plain, text("1.2E3"), Ok("1200")),
            (&plain, text("25e-1"), Ok("2.5")),
            (&plain, number(max), Ok(max)),
            (&plain, text("21.5 "), Err(Loss::Invalid)),
            (&plain, text("1_000"), Err(Loss::Invalid)),
            (&plain, text(""), Err(Loss::Invalid)),
            (&plain, text("NaN"), Err(Loss::Invalid)),
            (&plain, text("1e99"), Err(Loss::Invalid)),
            (&plain, text("792281625142643375935439503350"), Err(Loss::Invalid)),
            (&plain, Value::Flag(true), Err(Loss::Invalid)),
            (&tenth, number("615"), Ok("21.5")),
            (&tenth, number("1"), Ok("-39.9")),
            (&tenth, number("-1"), Err(Loss::OutOfRange)),
            (&tenth, number("1250"), Ok("85.0")),
            (&tenth, number("1251"), Err(Loss::OutOfRange)),
            (&huge, number(max), Err(Loss::Invalid)),
            (&huge_offset, number("1"), Err(Loss::Invalid)),
            (&flag, Value::Flag(true), Ok("true")),
            (&flag, number("0"), Ok("false")),
            (&flag, number("1.0"), Ok("true")),
            (&flag, number("2"), Err(Loss::Invalid)),
            (&flag, text("ON"), Err(Loss::Invalid)),
            (&texts, text("card 7"), Ok("'card 7'")),
            (&texts, number("007.10"), Ok("'7.10'")),
            (&texts, Value::Flag(false), Err(Loss::Invalid)),
        ];
        for (index, (rule, value, expected)) in cases.into_iter().enumerate() {
            let got = run(rule, value, None, false).map(|reading| shown(&reading.value));
            assert_eq!(got, expected.map(str::to_owned), "case {index}");
        }
    }

    #[test]
    fn times() {
        use Quality::{Good, Retained, Skewed};
        let plain = rule(Kind::Number, "1", "0", None);
        for (device_ms, retained, time_ms, device_time, quality) in [
            (None, false, NOW_MS, false, Good),
            (None, true, NOW_MS, false, Retained),
            (Some(NOW_MS - 1), false, NOW_MS - 1, true, Good),
            (Some(NOW_MS - 1), true, NOW_MS - 1, true, Retained),
            (Some(NOW_MS + AHEAD_MAX_MS), false, NOW_MS + AHEAD_MAX_MS, true, Good),
            (Some(NOW_MS + AHEAD_MAX_MS + 1), false, NOW_MS, false, Skewed),
            (Some(NOW_MS - BEHIND_MAX_MS), false, NOW_MS - BEHIND_MAX_MS, true, Good),
            (Some(NOW_MS - BEHIND_MAX_MS - 1), false, NOW_MS, false, Skewed),
            (Some(0), true, NOW_MS, false, Skewed),
            (Some(i64::MAX), false, NOW_MS, false, Skewed),
            (Some(i64::MIN), false, NOW_MS, false, Skewed),
        ] {
            let got = run(&plain, number("1"), device_ms, retained).expect("a plain number");
            let got = (got.time_ms, got.device_time, got.quality, got.received_ms, got.series);
            assert_eq!(
                got,
                (time_ms, device_time, quality, NOW_MS, SeriesKey(7)),
                "{device_ms:?} {retained}"
            );
        }
    }

    #[test]
    fn what_tells_of_the_past_may_be_a_month_old_and_is_never_as_good_as_now() {
        use Quality::{OutOfRange, Retained, Skewed};
        let ranged = Rule { outside: Outside::Flag, ..rule(Kind::Number, "1", "0", Some(("0", "9"))) };
        for (value, device_ms, retained, time_ms, quality) in [
            ("1", Some(NOW_MS), false, NOW_MS, Retained),
            ("1", Some(NOW_MS + AHEAD_MAX_MS), false, NOW_MS + AHEAD_MAX_MS, Retained),
            ("1", Some(NOW_MS + AHEAD_MAX_MS + 1), false, NOW_MS, Skewed),
            ("1", Some(NOW_MS - BEHIND_MAX_MS - 1), true, NOW_MS - BEHIND_MAX_MS - 1, Retained),
            ("1", Some(NOW_MS - HISTORY_MAX_MS), false, NOW_MS - HISTORY_MAX_MS, Retained),
            ("1", Some(NOW_MS - HISTORY_MAX_MS - 1), false, NOW_MS, Skewed),
            ("1", None, false, NOW_MS, Retained),
            ("10", Some(NOW_MS - HISTORY_MAX_MS), false, NOW_MS - HISTORY_MAX_MS, OutOfRange),
        ] {
            let (series, value) = (SeriesKey(7), number(value));
            let sample =
                Sample { message: None, series, value, device_ms, clock_ms: None, retained, history: true };
            let got = normalise(&ranged, sample, Stamp { wall_ms: NOW_MS, mono_ms: 1 }).expect("kept");
            assert_eq!((got.time_ms, got.quality), (time_ms, quality), "{device_ms:?}");
        }
    }

    #[test]
    fn a_clock_is_compared_and_never_taken() {
        use Quality::{Clock, Good, OutOfRange, Retained, Skewed};
        let ranged = Rule { outside: Outside::Flag, ..rule(Kind::Number, "1", "0", Some(("0", "9"))) };
        let tolerance_ms = CLOCK_TOLERANCE_MS as i64;
        for (value, clock_ms, device_ms, retained, wall_ms, quality) in [
            ("1", Some(NOW_MS), None, false, NOW_MS, Good),
            ("1", Some(NOW_MS + tolerance_ms), None, false, NOW_MS, Good),
            ("1", Some(NOW_MS + tolerance_ms + 1), None, false, NOW_MS, Clock),
            ("1", Some(NOW_MS - tolerance_ms - 1), None, true, NOW_MS, Clock),
            ("1", Some(NOW_MS), None, true, NOW_MS, Retained),
            ("1", Some(0), Some(0), false, NOW_MS, Skewed),
            ("1", Some(0), Some(NOW_MS), false, NOW_MS, Clock),
            ("-0.1", Some(0), Some(0), true, NOW_MS, OutOfRange),
            ("9.1", None, None, false, NOW_MS, OutOfRange),
            ("9.0", None, None, false, NOW_MS, Good),
            ("1", Some(i64::MIN), None, false, NOW_MS, Clock),
            ("1", Some(NOW_MS), None, false, 60_000, Good),
        ] {
            let sample = Sample {
                message: None,
                series: SeriesKey(7),
                value: number(value),
                device_ms,
                clock_ms,
                retained,
                history: false,
            };
            let reading = normalise(&ranged, sample, Stamp { wall_ms, mono_ms: 1 }).expect("kept");
            assert_eq!(reading.quality, quality, "{value} {clock_ms:?} {device_ms:?} {retained} {wall_ms}");
            assert!(reading.time_ms == wall_ms && shown(&reading.value) == value);
        }
    }

    #[test]
    fn a_gateway_that_woke_in_1970_believes_no_device() {
        let sample = Sample {
            message: None,
            series: SeriesKey(0),
            value: Value::Flag(true),
            device_ms: Some(60_000),
            clock_ms: None,
            retained: false,
            history: false,
        };
        let rule = rule(Kind::Flag, "1", "0", None);
        let reading = normalise(&rule, sample, Stamp { wall_ms: 60_000, mono_ms: 60_000 }).expect("a flag");
        assert_eq!((reading.time_ms, reading.quality), (60_000, Quality::Skewed));
    }

    proptest! {
        #[test]
        fn scaling_is_exact_and_stays_in_range(
            raw in -1_000_000_000_i64..1_000_000_000,
            scale in -100_000_i64..100_000,
            offset in -100_000_i64..100_000,
            places in 0_u32..5,
        ) {
            let rule = Rule {
                kind: Kind::Number,
                scale: Decimal::new(scale, places),
                offset: Decimal::new(offset, places),
                range: Some((Decimal::new(-1_000_000, 0), Decimal::new(1_000_000, 0))),
                outside: Outside::Drop,
            };
            let exact = i128::from(raw) * i128::from(scale) + i128::from(offset);
            let bound = 1_000_000 * 10_i128.pow(places);
            match run(&rule, Value::Number(Decimal::from(raw)), None, false) {
                Ok(reading) => {
                    prop_assert_eq!(reading.value, Value::Number(Decimal::from_i128_with_scale(exact, places)));
                    prop_assert!(exact.abs() <= bound);
                }
                Err(loss) => {
                    prop_assert_eq!(loss, Loss::OutOfRange);
                    prop_assert!(exact.abs() > bound);
                }
            }
        }

        #[test]
        fn event_time_stays_near_receive_time(
            wall_ms in any::<i64>(),
            far_ms in any::<i64>(),
            by_ms in prop::option::of(-3_000_000_000_i64..600_000),
            history in any::<bool>(),
        ) {
            let device_ms = Some(by_ms.map_or(far_ms, |by_ms| wall_ms.saturating_add(by_ms)));
            let value = Value::Flag(true);
            let sample = Sample { message: None, series: SeriesKey(0), value, device_ms, clock_ms: None, retained: false, history };
            let rule = rule(Kind::Flag, "1", "0", None);
            let reading = normalise(&rule, sample, Stamp { wall_ms, mono_ms: 0 }).expect("a flag");
            let distance = i128::from(reading.time_ms) - i128::from(wall_ms);
            let behind_ms = if history { HISTORY_MAX_MS } else { BEHIND_MAX_MS };
            prop_assert!((-i128::from(behind_ms)..=i128::from(AHEAD_MAX_MS)).contains(&distance));
            let taken = if history { Quality::Retained } else { Quality::Good };
            prop_assert_eq!(reading.device_time, reading.quality == taken);
        }
    }
}
