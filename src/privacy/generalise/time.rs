//! Times into fixed bins of the local day or of the calendar.
//!
//! Guarantees: the bins are half-open, begin with the local day, and are the same whoever asks; a text that is no time with
//! an offset gives nothing. Knows fixed offsets only: no summer time.

use jiff::civil::DateTime;
use jiff::{Timestamp, ToSpan};

use crate::model::Value;

/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;
/// Hours that an offset may be, either way.
const OFFSET_HOURS_MAX: i64 = 14;

/// How long a bin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Minutes that divide a day.
    Minutes(u32),
    /// A calendar day.
    Day,
    /// A week of ISO 8601.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl Unit {
    /// From "minute", "5min", "hour", "2h", "day", "week", "month" or "year".
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn new(text: &str) -> Result<Self, String> {
        let minutes = |digits: &str, each: u32| {
            let digits = digits.trim();
            let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok());
            number.flatten()?.checked_mul(each)
        };
        let minutes = match text {
            "minute" => Some(1),
            "hour" => Some(60),
            "day" => return Ok(Self::Day),
            "week" => return Ok(Self::Week),
            "month" => return Ok(Self::Month),
            "year" => return Ok(Self::Year),
            _ => match (text.strip_suffix("min"), text.strip_suffix('h')) {
                (Some(digits), _) => minutes(digits, 1),
                (None, Some(digits)) => minutes(digits, 60),
                (None, None) => None,
            },
        };
        match minutes {
            Some(minutes) if minutes > 0 && minutes < DAY_MINUTES && DAY_MINUTES.is_multiple_of(minutes) => {
                Ok(Self::Minutes(minutes))
            }
            _ => Err(format!(
                "unit {text:?}: \"minute\", \"5min\", \"hour\", \"2h\" (what divides a day), \"day\", \"week\", \"month\" or \"year\""
            )),
        }
    }
}

/// The offset from UTC, milliseconds, of "Asia/Shanghai", "UTC" or "+08:00".
///
/// # Errors
/// What is wrong with the text.
pub fn zone_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("zone {text:?}: \"Asia/Shanghai\", \"UTC\" or an offset like \"+08:00\"");
    match text {
        "Asia/Shanghai" => return Ok(8 * 3_600_000),
        "UTC" | "Z" => return Ok(0),
        _ => {}
    }
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (None, Some(rest)) => (-1, rest),
        (None, None) => return Err(wrong()),
    };
    let two = |text: &str| -> Option<i64> {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    let parts = rest.split_once(':').and_then(|(hours, minutes)| Some((two(hours)?, two(minutes)?)));
    match parts {
        Some((hours, minutes)) if minutes < 60 && hours * 60 + minutes <= OFFSET_HOURS_MAX * 60 => {
            Ok(sign * (hours * 60 + minutes) * 60_000)
        }
        _ => Err(wrong()),
    }
}

/// Times up to one unit, at one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a bin is.
    pub unit: Unit,
    /// Milliseconds ahead of UTC.
    pub zone_ms: i64,
}

impl Times {
    /// The bin in which a time of RFC 3339 lies: its begin with the offset below a day, else "2026-11-22", "2026-W47",
    /// "2026-11" or "2026". `None` for what is no such time.
    #[must_use]
    pub fn apply(&self, value: &Value) -> Option<Value> {
        let Value::Text(text) = value else { return None };
        // Without an offset it is no moment.
        let moment: Timestamp = text.trim().parse().ok()?;
        let local =
            jiff::tz::Offset::UTC.to_datetime(moment).checked_add(self.zone_ms.milliseconds()).ok()?;
        Some(Value::Text(self.bin(local).into()))
    }

    fn bin(&self, local: DateTime) -> String {
        let day = local.date();
        match self.unit {
            Unit::Minutes(minutes) => {
                let (hour, minute) = (local.hour().unsigned_abs(), local.minute().unsigned_abs());
                let since = u32::from(hour) * 60 + u32::from(minute);
                let begin = since - since % minutes;
                let sign = if self.zone_ms < 0 { '-' } else { '+' };
                let offset = self.zone_ms.unsigned_abs() / 60_000;
                format!(
                    "{day}T{:02}:{:02}:00{sign}{:02}:{:02}",
                    begin / 60,
                    begin % 60,
                    offset / 60,
                    offset % 60
                )
            }
            Unit::Day => day.to_string(),
            Unit::Week => {
                let week = day.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Unit::Month => format!("{:04}-{:02}", day.year(), day.month()),
            Unit::Year => format!("{:04}", day.year()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bin(unit: &str, zone: &str, text: &str) -> Option<String> {
        let times = Times { unit: Unit::new(unit).expect("a unit"), zone_ms: zone_ms(zone).expect("a zone") };
        match times.apply(&Value::Text(text.into())) {
            Some(Value::Text(bin)) => Some(bin.into()),
            _ => None,
        }
    }

    #[test]
    fn parameters_are_checked() {
        for (unit, good) in [
            ("minute", true),
            ("1min", true),
            ("15min", true),
            ("90min", true),
            ("12h", true),
            ("7min", false),
            ("0min", false),
            ("24h", false),
            ("5h", false),
            ("min", false),
            ("-5min", false),
            ("+5min", false),
            ("hours", false),
            ("99999999999h", false),
            ("", false),
        ] {
            assert_eq!(Unit::new(unit).is_ok(), good, "{unit}");
        }
        for (zone, ms) in [
            ("Asia/Shanghai", Some(28_800_000)),
            ("+08:00", Some(28_800_000)),
            ("UTC", Some(0)),
            ("-03:30", Some(-12_600_000)),
            ("+14:00", Some(50_400_000)),
            ("+14:01", None),
            ("+8", None),
            ("08:00", None),
            ("+08:60", None),
            ("Europe/Berlin", None),
        ] {
            assert_eq!(zone_ms(zone).ok(), ms, "{zone}");
        }
    }

    #[test]
    fn bins() {
        for (unit, zone, text, expected) in [
            ("day", "Asia/Shanghai", "2026-11-21T16:49:37Z", Some("2026-11-22")),
            ("30min", "Asia/Shanghai", "2026-11-21T16:49:37+08:00", Some("2026-11-21T16:30:00+08:00")),
            ("minute", "Asia/Shanghai", "2026-11-21T16:49:37.999+08:00", Some("2026-11-21T16:49:00+08:00")),
            ("hour", "UTC", "2026-11-21T00:49:37+08:00", Some("2026-11-20T16:00:00+00:00")),
            ("6h", "-03:30", "2026-11-21T02:00:00Z", Some("2026-11-20T18:00:00-03:30")),
            ("week", "Asia/Shanghai", "2026-11-22T15:59:59Z", Some("2026-W47")),
            ("week", "Asia/Shanghai", "2026-11-22T16:00:00Z", Some("2026-W48")),
            ("month", "Asia/Shanghai", "2026-11-30T16:00:00Z", Some("2026-12")),
            ("year", "Asia/Shanghai", "2026-12-31T16:00:00Z", Some("2027")),
            // A bin begins where the one before it ends.
            ("30min", "+08:00", "2026-11-21T16:30:00+08:00", Some("2026-11-21T16:30:00+08:00")),
            ("30min", "+08:00", "2026-11-21T16:29:59.999+08:00", Some("2026-11-21T16:00:00+08:00")),
            ("day", "+08:00", "2026-11-21T16:49:37", None),
            ("day", "+08:00", "2026-11-21", None),
            ("day", "+08:00", "2026-02-30T00:00:00Z", None),
            ("day", "+08:00", "yesterday", None),
            ("day", "+08:00", "", None),
        ] {
            assert_eq!(bin(unit, zone, text).as_deref(), expected, "{unit} {zone} {text}");
        }
        let times = Times { unit: Unit::Day, zone_ms: 0 };
        assert_eq!(times.apply(&Value::Flag(true)), None);
    }

    proptest! {
        /// What is in one bin stays in one bin of every longer unit that it divides.
        #[test]
        fn bins_nest(second in 0_i64..4_000_000_000, more in 0_i64..1800) {
            let text = |second| Timestamp::from_second(second).expect("a time").to_string();
            let (one, other) = (text(second), text(second + more));
            if bin("30min", "+08:00", &one) == bin("30min", "+08:00", &other) {
                for unit in ["hour", "2h", "day", "week", "month", "year"] {
                    prop_assert_eq!(bin(unit, "+08:00", &one), bin(unit, "+08:00", &other));
                }
            }
        }
    }
}
