//! Times of the week: "Mon-Fri 22:00-06:00", in the gateway's zone.
//!
//! Guarantees: a stretch that goes past midnight belongs to the day on which it begins; what touches or overlaps is one
//! stretch, also over the end of the week; every question is answered for any time, without a calendar. What it does not
//! know: a zone whose offset changes, holidays, seconds. Pure.

use std::iter::once;

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;
/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * DAY_MINUTES;
const MINUTE_MS: i64 = 60_000;
/// 1970-01-01 was a Thursday.
const EPOCH_MINUTES: i64 = 3 * DAY_MINUTES as i64;

/// Stretches of the week; none of them is always.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Half-open, in minutes since Monday 00:00; one that wraps past Sunday is two. In order, and apart.
    pub(crate) spans: Vec<(u16, u16)>,
}

impl Schedule {
    /// From texts: `Mon-Fri 22:00-06:00`, `22:00-06:00` (every day), `Sat,Sun` (all day), `Mon-Wed,Fri 08:00-12:00`.
    /// Days in English, whatever the case; `24:00` is an end. No text at all is always.
    ///
    /// # Errors
    /// What is wrong with which text, and what would be right.
    pub fn parse(texts: &[&str]) -> Result<Self, String> {
        let mut spans = Vec::new();
        for text in texts {
            let (days, (start, end)) = line(text)?;
            for day in (0..7).filter(|day| days & 1 << day != 0) {
                let from = day * DAY_MINUTES + start;
                let until = day * DAY_MINUTES + end + if end <= start { DAY_MINUTES } else { 0 };
                spans.push((from, until.min(WEEK_MINUTES)));
                if until > WEEK_MINUTES {
                    spans.push((0, until - WEEK_MINUTES));
                }
            }
        }
        spans.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (from, until) in spans {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(until),
                _ => merged.push((from, until)),
            }
        }
        Ok(Self { spans: merged })
    }

    /// Whether it never ends.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.spans.is_empty() || self.spans == [(0, WEEK_MINUTES)]
    }

    /// Whether it holds in that minute of the local week, from 0 on Monday 00:00; a later one is of a later week.
    #[must_use]
    pub fn holds(&self, local_minute_of_week: u16) -> bool {
        let minute = local_minute_of_week % WEEK_MINUTES;
        self.spans.is_empty() || self.spans.iter().any(|(from, until)| (*from..*until).contains(&minute))
    }

    /// Whether it holds at that time, milliseconds since 1970 UTC, in a zone so many milliseconds east of UTC.
    #[must_use]
    pub fn at(&self, wall_ms: i64, zone_ms: i64) -> bool {
        self.spans.is_empty() || self.holds(minute_of_week(wall_ms, zone_ms))
    }

    /// When [`Schedule::at`] is next another than at that time, milliseconds since 1970 UTC; `None` for always.
    #[must_use]
    pub fn next_change_ms(&self, wall_ms: i64, zone_ms: i64) -> Option<i64> {
        let now = minute_of_week(wall_ms, zone_ms);
        let ahead = |edge: u16| if edge > now { edge - now } else { edge + WEEK_MINUTES - now };
        let minutes = self.edges().map(ahead).min()?;
        let into_ms = wall_ms.saturating_add(zone_ms).rem_euclid(MINUTE_MS);
        Some(wall_ms.saturating_add(i64::from(minutes) * MINUTE_MS - into_ms))
    }

    /// The longest stretch in one go, minutes; `None` for always.
    #[must_use]
    pub fn longest_minutes(&self) -> Option<u32> {
        if self.is_always() {
            return None;
        }
        let wraps = match (self.spans.first(), self.spans.last()) {
            (Some((0, until)), Some((from, WEEK_MINUTES))) => until + (WEEK_MINUTES - from),
            _ => 0,
        };
        self.spans.iter().map(|(from, until)| until - from).chain(once(wraps)).max().map(u32::from)
    }

    /// The minutes in which it begins or ends.
    fn edges(&self) -> impl Iterator<Item = u16> + '_ {
        let ends = self.spans.iter().flat_map(|(from, until)| [*from, *until % WEEK_MINUTES]);
        ends.filter(|edge| self.holds(*edge) != self.holds(edge + WEEK_MINUTES - 1))
    }
}

fn minute_of_week(wall_ms: i64, zone_ms: i64) -> u16 {
    let minutes = wall_ms.saturating_add(zone_ms).div_euclid(MINUTE_MS) + EPOCH_MINUTES;
    u16::try_from(minutes.rem_euclid(i64::from(WEEK_MINUTES))).unwrap_or(0)
}

/// The days as bits, Monday the lowest, and the minutes of the day.
fn line(text: &str) -> Result<(u8, (u16, u16)), String> {
    let fault = |what: String| format!("schedule {text:?}: {what}; write it like \"Mon-Fri 22:00-06:00\"");
    let mut parts = text.split_whitespace();
    let (Some(first), second, None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(fault("days and times are one word each".into()));
    };
    let (week, all_day) = (0b111_1111, (0, DAY_MINUTES));
    match second {
        Some(times) => Ok((days(first).map_err(fault)?, span(times).map_err(fault)?)),
        None if first.contains(':') => Ok((week, span(first).map_err(fault)?)),
        None => Ok((days(first).map_err(fault)?, all_day)),
    }
}

fn days(text: &str) -> Result<u8, String> {
    let mut found = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7 + 1;
        found |= (0..count).fold(0_u8, |days, ahead| days | 1 << ((first + ahead) % 7));
    }
    Ok(found)
}

fn day(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let at = NAMES.iter().position(|name| name.eq_ignore_ascii_case(text));
    at.and_then(|at| u8::try_from(at).ok()).ok_or_else(|| format!("{text:?} is no day of Mon to Sun"))
}

fn span(text: &str) -> Result<(u16, u16), String> {
    let (start, end) = text.split_once('-').ok_or_else(|| format!("{text:?} is no time from-to"))?;
    let (start, end) = (time_of_day(start)?, time_of_day(end)?);
    if start == DAY_MINUTES {
        return Err("24:00 is an end only".into());
    }
    if start == end {
        return Err(format!("{text:?} is no time at all, and 00:00-24:00 is the whole day"));
    }
    Ok((start, end))
}

/// Minutes of the day of `HH:MM`, up to 24:00.
///
/// # Errors
/// What is wrong with it.
pub fn time_of_day(text: &str) -> Result<u16, String> {
    let is_two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let two = |text: &str| text.parse::<u16>().ok().filter(|_| is_two(text));
    let minutes = text.split_once(':').and_then(|(hour, minute)| {
        let (hour, minute) = (two(hour)?, two(minute)?);
        (minute < 60).then_some(hour * 60 + minute)
    });
    minutes
        .filter(|minutes| *minutes <= DAY_MINUTES)
        .ok_or_else(|| format!("{text:?} is no time of a day from 00:00 to 24:00"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u16 = 60;

    #[test]
    fn texts_are_stretches() {
        let day = |day: u16, hour: u16| day * DAY_MINUTES + hour * HOUR;
        for (texts, spans, longest) in [
            (&[][..], vec![], None),
            (&["Mon-Sun"][..], vec![(0, WEEK_MINUTES)], None),
            (&["00:00-24:00"], vec![(0, WEEK_MINUTES)], None),
            (&["sat,SUN"], vec![(day(5, 0), day(7, 0))], Some(48 * 60)),
            (&["Mon 08:00-12:30"], vec![(day(0, 8), day(0, 12) + 30)], Some(270)),
            (&["Mon,Wed 22:00-24:00"], vec![(day(0, 22), day(1, 0)), (day(2, 22), day(3, 0))], Some(120)),
            (
                &["Fri-Sun 22:00-06:00"],
                {
                    vec![
                        (0, day(0, 6)),
                        (day(4, 22), day(5, 6)),
                        (day(5, 22), day(6, 6)),
                        (day(6, 22), day(7, 0)),
                    ]
                },
                Some(480),
            ),
            (&["Sun-Mon"], vec![(0, day(1, 0)), (day(6, 0), day(7, 0))], Some(48 * 60)),
            (
                &["Tue 08:00-12:00", "Tue 12:00-14:00", "Tue 09:00-10:00"],
                vec![(day(1, 8), day(1, 14))],
                Some(360),
            ),
        ] {
            let schedule = Schedule::parse(texts).expect("a schedule in a test");
            assert_eq!(schedule.spans, spans, "{texts:?}");
            assert_eq!(schedule.longest_minutes(), longest, "{texts:?}");
        }
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("", "one word each"),
            ("Mon 08:00-12:00 x", "one word each"),
            ("Mo", "\"Mo\" is no day"),
            ("Mon-", "\"\" is no day"),
            ("Mon 8:00-12:00", "\"8:00\" is no time of a day"),
            ("25:00-26:00", "\"25:00\" is no time of a day"),
            ("08:00-24:01", "\"24:01\" is no time of a day"),
            ("08:60-09:00", "\"08:60\" is no time of a day"),
            ("+8:00-09:00", "\"+8:00\" is no time of a day"),
            ("24:00-06:00", "24:00 is an end only"),
            ("08:00-08:00", "no time at all"),
            ("08:00", "no time from-to"),
        ] {
            let fault = Schedule::parse(&[text]).expect_err(text);
            assert!(fault.contains(why), "{text:?}: {fault}");
        }
    }

    #[test]
    fn the_first_of_1970_was_a_thursday() {
        let thursday = Schedule::parse(&["Thu"]).expect("a schedule in a test");
        for (wall_ms, zone_ms, is) in
            [(0, 0, true), (-1, 0, false), (-1, 1, true), (86_400_000, 0, false), (86_399_999, 0, true)]
        {
            assert_eq!(thursday.at(wall_ms, zone_ms), is, "{wall_ms} {zone_ms}");
        }
        assert_eq!(thursday.next_change_ms(30_500, 0), Some(86_400_000));
        assert_eq!(thursday.next_change_ms(0, 8 * 3_600_000), Some(16 * 3_600_000));
        assert_eq!(Schedule::default().next_change_ms(0, 0), None);
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        let line = (0_usize..7, 0_u16..1440, 1_u16..1440).prop_map(|(day, start, long)| {
            let name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day];
            let end = (start + long) % 1440;
            format!("{name} {:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
        });
        prop::collection::vec(line, 1..6).prop_map(|lines| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            Schedule::parse(&lines).expect("a schedule in a test")
        })
    }

    proptest! {
        /// Minute by minute: the next change is the first minute that is another, and the longest stretch is one.
        #[test]
        fn agrees_with_its_minutes(schedule in any_schedule(), wall_ms in -4_000_000_000_i64..4_000_000_000) {
            let now = schedule.at(wall_ms, 0);
            let minutes = (1..).map(|ahead| wall_ms.div_euclid(MINUTE_MS) * MINUTE_MS + ahead * MINUTE_MS);
            let next = minutes.take(usize::from(WEEK_MINUTES)).find(|ms| schedule.at(*ms, 0) != now);
            prop_assert_eq!(schedule.next_change_ms(wall_ms, 0), next);
            let (mut longest, mut run) = (0, 0);
            for minute in 0..2 * WEEK_MINUTES {
                run = if schedule.holds(minute) { run + 1 } else { 0 };
                longest = longest.max(run);
            }
            prop_assert_eq!(schedule.longest_minutes(), Some(longest).filter(|_| !schedule.is_always()));
        }
    }
}
