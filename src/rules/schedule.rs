//! Times of the week: "22:00-06:00" of every day, in the gateway's zone. Pure.

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;
/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * DAY_MINUTES;
/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;
/// Minutes from the last Monday 00:00 before 1970 to 1970.
const EPOCH_MINUTES: i64 = 3 * DAY_MINUTES as i64;

/// Stretches of the week; none of them is always.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Half-open, in minutes since Monday 00:00; one that wraps past Sunday is two.
    pub(crate) spans: Vec<(u16, u16)>,
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

impl Schedule {
    /// Reads stretches of every day.
    ///
    /// # Errors
    /// The text that is none.
    pub fn parse(texts: &[&str]) -> Result<Self, String> {
        let mut spans = Vec::new();
        for text in texts {
            let ends = text.split_once('-').and_then(|(from, to)| minute(from).zip(minute(to)));
            let (from, to) =
                ends.ok_or_else(|| format!("schedule {text:?}: write it like \"22:00-06:00\""))?;
            for day in 0..7 {
                let (from, mut to) = (day * DAY_MINUTES + from, day * DAY_MINUTES + to);
                if to <= from {
                    to += DAY_MINUTES;
                }
                spans.push((from, to.min(WEEK_MINUTES)));
                if to > WEEK_MINUTES {
                    spans.push((0, to - WEEK_MINUTES));
                }
            }
        }
        Ok(Self { spans })
    }

    fn holds(&self, minute: i64) -> bool {
        let of_week = (minute + EPOCH_MINUTES).rem_euclid(i64::from(WEEK_MINUTES));
        let holds = |(from, to): &(u16, u16)| (i64::from(*from)..i64::from(*to)).contains(&of_week);
        self.spans.is_empty() || self.spans.iter().any(holds)
    }

    /// Whether that moment is in one of them.
    #[must_use]
    pub fn at(&self, wall_ms: i64, zone_ms: i64) -> bool {
        self.holds(wall_ms.saturating_add(zone_ms).div_euclid(MINUTE_MS))
    }

    /// When that changes next, milliseconds since 1970 UTC; none where it never does.
    #[must_use]
    pub fn next_change_ms(&self, wall_ms: i64, zone_ms: i64) -> Option<i64> {
        let now = wall_ms.saturating_add(zone_ms).div_euclid(MINUTE_MS);
        let holds = self.holds(now);
        let next =
            (1..=i64::from(WEEK_MINUTES)).map(|wait| now + wait).find(|then| self.holds(*then) != holds);
        next.map(|minute| minute * MINUTE_MS - zone_ms)
    }
}
