//! For how long a pseudonym stays the same: a day, a week, a month of the local calendar, or for good.
//!
//! Guarantees: an epoch has one name, as it goes into the key (`2026-11-21`, `2026-W47`, `2026-11`, `none`), and a name is
//! of one epoch. Pure: the time is an argument.

use std::fmt;

use jiff::civil::{Date, ISOWeekDate, Weekday};
use jiff::{Span, Timestamp};

/// The length of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Length {
    /// A calendar day.
    Day,
    /// A week of ISO 8601, from Monday on.
    Week,
    /// A calendar month.
    #[default]
    Month,
    /// For good.
    Endless,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    length: Length,
    /// Its first day.
    first: Date,
}

impl Epoch {
    /// The epoch in which a moment lies, by a clock that is `zone_ms` ahead of UTC; what no calendar holds counts as 1970.
    #[must_use]
    pub fn at(length: Length, now_ms: i64, zone_ms: i64) -> Self {
        let local = Timestamp::from_millisecond(now_ms.saturating_add(zone_ms)).unwrap_or_default();
        Self::around(length, local.to_zoned(jiff::tz::TimeZone::UTC).date())
    }

    fn around(length: Length, day: Date) -> Self {
        let first = match length {
            Length::Day => day,
            Length::Week => day.iso_week_date().first_of_week().map_or(day, ISOWeekDate::date),
            Length::Month => day.first_of_month(),
            Length::Endless => Date::ZERO,
        };
        Self { length, first }
    }

    /// The epoch of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let epoch = if name == "none" {
            Self { length: Length::Endless, first: Date::ZERO }
        } else if let Some((year, week)) = name.split_once("-W") {
            let monday = ISOWeekDate::new(year.parse().ok()?, week.parse().ok()?, Weekday::Monday).ok()?;
            Self { length: Length::Week, first: monday.date() }
        } else {
            let mut parts = name.split('-');
            let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next());
            let length = if day.is_some() { Length::Day } else { Length::Month };
            let day = day.map_or(Ok(1), str::parse).ok()?;
            Self { length, first: Date::new(year, month, day).ok()? }
        };
        // Only as this writes it: another spelling would be a second file of the same epoch.
        (epoch.to_string() == name).then_some(epoch)
    }

    /// Its length.
    #[must_use]
    pub fn length(self) -> Length {
        self.length
    }

    /// The epoch `count` lengths before; this one where the calendar ends, or when it is endless.
    #[must_use]
    pub fn before(self, count: u32) -> Self {
        let count = i64::from(count);
        let span = match self.length {
            Length::Day => Span::new().try_days(count),
            Length::Week => Span::new().try_weeks(count),
            Length::Month => Span::new().try_months(count),
            Length::Endless => return self,
        };
        let first = span.and_then(|span| self.first.checked_sub(span)).unwrap_or(self.first);
        Self { first, ..self }
    }

    /// Whether it was over before the other one began; never of an endless one.
    #[must_use]
    pub fn ended_before(self, other: Self) -> bool {
        let span = match self.length {
            Length::Day => Span::new().days(1),
            Length::Week => Span::new().weeks(1),
            Length::Month => Span::new().months(1),
            Length::Endless => return false,
        };
        self.first.checked_add(span).is_ok_and(|next| next <= other.first)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.first;
        match self.length {
            Length::Day => write!(f, "{day}"),
            Length::Week => {
                let week = day.iso_week_date();
                write!(f, "{:04}-W{:02}", week.year(), week.week())
            }
            Length::Month => write!(f, "{:04}-{:02}", day.year(), day.month()),
            Length::Endless => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONE_MS: i64 = 8 * 3_600_000;
    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn epochs_are_local() {
        // 2026-11-30 23:59:59.999 and one millisecond later, in +08:00; a Monday and the Tuesday after it.
        let turn = 1_796_054_400_000;
        for (length, now, name) in [
            (Length::Month, turn - 1, "2026-11"),
            (Length::Month, turn, "2026-12"),
            (Length::Day, turn - 1, "2026-11-30"),
            (Length::Day, turn, "2026-12-01"),
            (Length::Week, turn, "2026-W49"),
            (Length::Week, turn - 2 * DAY_MS, "2026-W48"),
            // The first days of 2027 lie in the last week of 2026.
            (Length::Week, turn + 32 * DAY_MS, "2026-W53"),
            (Length::Endless, turn, "none"),
            (Length::Month, 0, "1970-01"),
            (Length::Month, i64::MAX, "1970-01"),
        ] {
            assert_eq!(Epoch::at(length, now, ZONE_MS).to_string(), name, "{now}");
        }
    }

    #[test]
    fn names_have_one_spelling() {
        for name in [
            "",
            "2026",
            "2026-1",
            "2026-13",
            "2026-W1",
            "2026-W54",
            "2026-11-31",
            "2026-11-1",
            "NONE",
            "2026-11-21-1",
            "../x",
        ] {
            assert_eq!(Epoch::named(name), None, "{name}");
        }
    }

    #[test]
    fn older_epochs() {
        let epoch = |name| Epoch::named(name).expect("a name");
        for (name, count, before) in [
            ("2026-01", 1, "2025-12"),
            ("2026-01", 2, "2025-11"),
            ("2026-W01", 1, "2025-W52"),
            ("2026-03-01", 1, "2026-02-28"),
            ("none", 7, "none"),
        ] {
            assert_eq!(epoch(name).before(count), epoch(before), "{name}");
        }
        for (one, other, ended) in [
            ("2026-10", "2026-11", true),
            ("2026-11", "2026-11", false),
            ("2026-12", "2026-11", false),
            ("2026-10-31", "2026-11", true),
            ("2026-11-01", "2026-11", false),
            ("2026-W44", "2026-11", false),
            ("none", "2026-11", false),
        ] {
            assert_eq!(epoch(one).ended_before(epoch(other)), ended, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_of_one_epoch(now_ms in 0_i64..4_000_000_000_000, step in 0..3_usize) {
            let length = [Length::Day, Length::Week, Length::Month][step];
            let epoch = Epoch::at(length, now_ms, ZONE_MS);
            prop_assert_eq!(Epoch::named(&epoch.to_string()), Some(epoch));
            prop_assert!(epoch.before(1).ended_before(epoch) && !epoch.before(1).ended_before(epoch.before(1)));
        }
    }
}
