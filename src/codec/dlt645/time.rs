//! The meter's clock, read and set: local civil time with two digits for the year, which are those of 2000 to 2099.
//!
//! Guarantees: digits that are no date or no time of day give none, never 1970.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::frame::seal;
use super::request::broadcast;
use crate::codec::bcd::pair;

/// Milliseconds since 1970 UTC of a meter whose clock is `zone_ms` ahead of UTC, from the data of 04000101 (four bytes) and
/// 04000102 (three bytes), or of C010 and C011. The pair must be of one day: read the date again behind the time.
#[must_use]
pub fn clock_ms(date: &[u8], time: &[u8], zone_ms: i64) -> Option<i64> {
    let (&[_weekday, day, month, year], &[second, minute, hour]) = (date, time) else { return None };
    let civil = self::date(year, month, day)?.to_datetime(self::time(hour, minute, second)?);
    let utc = Offset::UTC.to_timestamp(civil).ok()?;
    utc.as_millisecond().checked_sub(zone_ms)
}

/// Of bytes as they are sent.
pub(super) fn date(year: u8, month: u8, day: u8) -> Option<Date> {
    let [year, month, day] = [pair(year)?, pair(month)?, pair(day)?];
    Date::new(2000 + i16::from(year), month.cast_signed(), day.cast_signed()).ok()
}

/// Of bytes as they are sent; there is no second 60.
pub(super) fn time(hour: u8, minute: u8, second: u8) -> Option<Time> {
    let [hour, minute, second] = [pair(hour)?, pair(minute)?, pair(second)?];
    Time::new(hour.cast_signed(), minute.cast_signed(), second.cast_signed(), 0).ok()
}

/// Sets the clocks of all meters on the line (DL/T 645-2007 §7.6): C = 08H to 999999999999. There is no answer, and a meter
/// obeys once a day, only when its clock is at most five minutes wrong, and best not near midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBroadcast([u8; 6]);

impl TimeBroadcast {
    /// From milliseconds since 1970 UTC, for meters whose clocks are `zone_ms` ahead of UTC; none outside 2000 to 2099.
    #[must_use]
    pub fn new(utc_ms: i64, zone_ms: i64) -> Option<Self> {
        let local = Timestamp::from_millisecond(utc_ms.checked_add(zone_ms)?).ok()?;
        let local = Offset::UTC.to_datetime(local);
        let year = i8::try_from(local.year().checked_sub(2000)?).ok()?;
        let parts = [local.second(), local.minute(), local.hour(), local.day(), local.month(), year];
        let bcd = |part: i8| (((part / 10) << 4) | (part % 10)).cast_unsigned();
        (0..100).contains(&year).then(|| Self(parts.map(bcd)))
    }

    /// As sent, with the leader.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(broadcast(), 0x08, &self.0)
    }
}
